"""A broker that denies what is not allowed, and the permissions of docs/kafka-acls.md."""

from __future__ import annotations

import re
import shlex
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from confluent_kafka import admin

from tests.brokers import private_broker
from tests.house.sources import ROOT

kafka: Any = admin
"""Its own types leave most of this out."""
PAGE = ROOT / "docs" / "kafka-acls.md"
PASSWORD = "a-password-that-nobody-prints"
_ADMIN = "root-of-the-test"
_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
_PLAIN = (
    f'org.apache.kafka.common.security.plain.PlainLoginModule required username="{_ADMIN}" password="{PASSWORD}" '
    f'user_{_ADMIN}="{PASSWORD}";'
)
PROPERTIES = {
    # The listener keeps its name, and is no plaintext any more.
    "listener.security.protocol.map": "PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
    "inter.broker.listener.name": "PLAINTEXT",
    "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256",
    "sasl.mechanism.inter.broker.protocol": "PLAIN",
    "listener.name.plaintext.plain.sasl.jaas.config": _PLAIN,
    "listener.name.plaintext.scram-sha-256.sasl.jaas.config": _SCRAM,
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": f"User:{_ADMIN};User:ANONYMOUS",  # the broker itself, at the controller
}


@dataclass(frozen=True)
class Secured:
    """The broker, and an admin that may do everything."""

    servers: str
    admin: Any

    def user(self, name: str) -> dict[str, str]:
        """Makes a user, and what its processes have in their environment."""
        made = kafka.UserScramCredentialUpsertion(
            name, kafka.ScramCredentialInfo(kafka.ScramMechanism.SCRAM_SHA_256, 4096), PASSWORD.encode()
        )
        for future in self.admin.alter_user_scram_credentials([made]).values():
            future.result()
        return environment(name)

    def allow(self, bindings: list[Any]) -> None:
        for future in self.admin.create_acls(bindings).values():
            future.result()


def environment(name: str, password: str = PASSWORD) -> dict[str, str]:
    return {
        "PERDURE_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "PERDURE_KAFKA_SASL_MECHANISM": "SCRAM-SHA-256",
        "PERDURE_KAFKA_SASL_USERNAME": name,
        "PERDURE_KAFKA_SASL_PASSWORD": password,
    }


@contextmanager
def secured_broker() -> Generator[Secured]:
    """A broker of the test's own, which lets nobody do anything yet."""
    with private_broker(PROPERTIES) as broker:
        root = kafka.AdminClient(
            {
                "bootstrap.servers": broker.servers,
                "security.protocol": "SASL_PLAINTEXT",
                "sasl.mechanism": "PLAIN",
                "sasl.username": _ADMIN,
                "sasl.password": PASSWORD,
                "log_level": 0,
            }
        )
        yield Secured(broker.servers, root)


def allowed_by_the_page() -> dict[str, list[Any]]:
    """The permissions of each user, from the commands that people copy."""
    found: dict[str, list[Any]] = {}
    for line in re.findall(r"^kafka-acls\.sh (--add .*)$", PAGE.read_text(), re.MULTILINE):
        options = shlex.split(line)
        values: dict[str, list[str]] = {}
        for name, value in zip(options[1::2], options[2::2], strict=True):
            values.setdefault(name, []).append(value)
        (principal,) = values.pop("--allow-principal")
        found.setdefault(principal.removeprefix("User:"), []).extend(_bindings(principal, values))
    return found


def _bindings(principal: str, values: dict[str, list[str]]) -> Iterator[Any]:
    pattern = values.pop("--resource-pattern-type", ["literal"])[0].upper()
    operations = values.pop("--operation")
    ((kind, (name,)),) = values.items()
    for operation in operations:
        upper = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operation).upper()
        yield kafka.AclBinding(
            kafka.ResourceType[kind.removeprefix("--").upper()],
            name,
            kafka.ResourcePatternType[pattern],
            principal,
            "*",
            kafka.AclOperation[upper],
            kafka.AclPermissionType.ALLOW,
        )
