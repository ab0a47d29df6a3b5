"""The topics of one app on its cluster: found, made, checked. Blocks: not on the loop."""

from __future__ import annotations

from dataclasses import replace

from perdure.errors import LogError, UsageError
from perdure.logs.contract import Topic
from perdure.logs.kafka import preflight, topics
from perdure.logs.kafka.admin import ANSWER_S, LOOK_S, Admin
from perdure.logs.kafka.settings import KafkaSettings

__all__ = ["Cluster"]

_REPLICATION_MAX = 3


class Cluster:
    """Connected to an app's topics; `settings` names the app, also when those given left it open. Raises LogError.

    In `development` one copy of everything is enough.
    """

    def __init__(self, settings: KafkaSettings, *, development: bool = False) -> None:
        self.admin = Admin(settings.client("admin"), str(settings))
        self.settings = settings if settings.app else replace(settings, app=self._only_app(settings))
        self._development = development

    def _only_app(self, settings: KafkaSettings) -> str:
        found = topics.apps_of(settings.namespace, self.admin.topics())
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(
                f"{settings} has the apps {', '.join(found)}: say which, as in {settings}?app={found[0]}"
            )
        raise LogError(
            f"{settings} has no app yet. Make one's topics: perdure topics create --log {settings} --app NAME"
        )

    def partitions(self) -> int | None:
        """How many partitions the journal has; None when there is none."""
        journal = topics.topic_name(self.settings, Topic.JOURNAL)
        return self.admin.partitions([journal]).get(journal)

    def ready(self, create: int | None) -> int:
        """How many partitions the journal has. Missing topics are made when `create` says with how many."""
        settings = self.settings
        partitions = self.partitions() or create
        if partitions is None:
            raise LogError(
                f"{settings} has no journal of the app {settings.app!r}. Make its topics: perdure topics create --log "
                f"{settings} --app {settings.app} --partitions N"
            )
        if create is not None:
            self.make_topics(partitions, min(_REPLICATION_MAX, self.admin.brokers()))
        return partitions

    def check_safe(self, partitions: int) -> dict[str, str]:
        """The ids of the topics whose loss is to be noticed. Raises LogError, with all reasons, when runs could be lost
        here."""
        if fatal := [str(fault) for fault in self.faults(partitions) if fault.fatal]:
            raise LogError("\n".join([f"{self.settings} is not safe to run on:", *fatal]))
        return {name: found for name, found in self.ids(ANSWER_S).items() if found is not None}

    def ids(self, within_s: float = LOOK_S) -> dict[str, str | None]:
        """The ids of the journal's topic and of that of events, None for one that is not there."""
        return self.admin.ids(
            [topics.topic_name(self.settings, topic) for topic in (Topic.JOURNAL, Topic.EVENTS)],
            within_s=within_s,
        )

    def make_topics(self, partitions: int, replication: int) -> list[topics.TopicSpec]:
        """Makes those that are missing, and says which."""
        there = self.partitions()
        if there not in (None, partitions):
            raise UsageError(f"the journal has {there} partitions already, and their number stays as it is")
        wanted = topics.specs(self.settings, partitions, replication=replication)
        found = self.admin.partitions([spec.name for spec in wanted])
        missing = [spec for spec in wanted if spec.name not in found]
        if missing:
            self.admin.create(missing, replication)
        return missing

    def faults(self, partitions: int) -> list[preflight.Fault]:
        """What is wrong with the topics."""
        wanted = topics.specs(self.settings, partitions, replication=_REPLICATION_MAX)
        found = self.admin.describe([spec.name for spec in wanted])
        return preflight.faults_of(self.settings, wanted, found, development=self._development)
