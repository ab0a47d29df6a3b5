"""The shared broker as a container, where Docker answers and the image is there without a download."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

from perdure.testing.kafka import KafkaBroker, image_name
from tests.brokers.leases import Lease

PREPARED_VARIABLE = "PERDURE_TEST_DOCKER_IMAGE"
"""Set by `infra/docker.sh up`: an image for tests of containers alone; brokers for other tests are processes."""
DOCKER_S = 20


def local_image() -> str | None:
    """The image to use, or None where there is no Docker, or no such image yet."""
    image = image_name()
    if shutil.which("docker") is None or _docker("version") is None:
        return None
    return image if _docker("image", "inspect", image) is not None else None


def shared_container(folder: Path, image: str) -> tuple[KafkaBroker, Lease]:
    """The broker of this folder. Its container has the folder's name, so that one which a dead run left is found."""
    name = folder.name
    lease = Lease(folder / "lease", ["docker", "rm", "--force", "--volumes", name], os.environ)
    known = folder / "servers"
    with lease.or_release(), (folder / "starting").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state = _docker("container", "inspect", "--format", "{{.State.Running}}", name)
        if state != "true" or not known.exists():
            known.unlink(missing_ok=True)
            _docker("rm", "--force", "--volumes", name)
            known.write_text(_start(image, name))
    return KafkaBroker(known.read_text()), lease


def _start(image: str, name: str) -> str:
    from testcontainers.core.config import testcontainers_config

    from perdure.testing.kafka_container import started_container

    # Ryuk would remove it with the process that started it. Others use it too, and the lease sees to its end.
    testcontainers_config.ryuk_disabled = True
    container = started_container(image, name)
    try:
        return container.get_bootstrap_server()
    finally:
        container.get_docker_client().client.close()


def _docker(*arguments: str) -> str | None:
    """What the command prints; None when it fails."""
    command = ["docker", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DOCKER_S, check=False)
    return done.stdout.strip() if done.returncode == 0 else None
