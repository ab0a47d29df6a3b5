"""Real brokers for the project's own tests.

    broker()                the one that all tests share, also those of other xdist workers and other runs
    broker().url()          a log's URL on it, in a namespace of its own
    private_broker()        one node for a single test, which may kill it, pause it and start it again
    cluster(3)              three such nodes: replication factor 3, two must be in sync

The shared one is the first of these that can be had: what `PERDURE_TEST_KAFKA` names; a container, where Docker answers
and the image is there already; else processes of `infra/kafka.sh`. Private ones are always processes. Where there is
no Java or no Maven, a test is skipped with the reason; in CI, and with `PERDURE_REQUIRE_KAFKA=1`, it fails.

Nothing has to be called at the end: `leases.py` says how brokers end, whichever way a run does.
"""

from tests.brokers.asking import answers
from tests.brokers.private import PrivateBroker, cluster, private_broker
from tests.brokers.provider import Broker, broker

__all__ = ["Broker", "PrivateBroker", "answers", "broker", "cluster", "private_broker"]
