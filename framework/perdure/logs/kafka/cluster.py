"""The topics of one app on its cluster: found, made, grown, checked. Blocks: not on the loop."""

from __future__ import annotations

from dataclasses import replace

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from perdure.errors import LogError, UsageError
from perdure.logs.contract import Topic
from perdure.logs.kafka import preflight, topics
from perdure.logs.kafka.admin import ANSWER_S, LOOK_S, Admin
from perdure.logs.kafka.layout import LAYOUT_PARTITION, Layout, record_of
from perdure.logs.kafka.lookup import Lookup
from perdure.logs.kafka.settings import KafkaSettings

__all__ = ["Cluster", "read_layout"]

_REPLICATION_MAX = 3
_WRITTEN_S = 15.0
_READ_MAX = 500


def read_layout(lookup: Lookup, settings: KafkaSettings, layout: Layout) -> None:
    """Reads on in the records of the generations. Raises KafkaException and LogError."""
    registry = topics.topic_name(settings, Topic.REGISTRY)
    while entries := lookup.read(registry, LAYOUT_PARTITION, layout.next, _READ_MAX):
        layout.take(entries)


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

    def _name(self, topic: Topic) -> str:
        return topics.topic_name(self.settings, topic)

    def _found(self) -> dict[str, int]:
        """How many partitions those of the app's topics have that are there."""
        names = [*(self._name(topic) for topic in Topic), topics.snapshots_name(self.settings)]
        return self.admin.partitions(names)

    # ------------------------------------------------------------------ generations

    def ready(self, create: int | None) -> Layout:
        """The journal's generations. Missing topics are made when `create` says with how many partitions."""
        settings = self.settings
        there = self._found().get(self._name(Topic.JOURNAL))
        if there is None and create is None:
            raise LogError(
                f"{settings} has no journal of the app {settings.app!r}. Make its topics: perdure topics create --log "
                f"{settings} --app {settings.app} --partitions N"
            )
        if create is not None:
            self.make_topics(None if there else create, min(_REPLICATION_MAX, self.admin.brokers()))
        return self.layout()

    def layout(self) -> Layout:
        """The generations as they were written down; if they never were, as the topics have it."""
        layout, found = self._written(), self._found()
        journal, events = found.get(self._name(Topic.JOURNAL)), found.get(self._name(Topic.EVENTS))
        if not layout.generations and journal is not None:
            layout.generations = _generations(events or journal, journal)
        return layout

    def _written(self) -> Layout:
        layout = Layout()
        if self._found().get(self._name(Topic.REGISTRY), 0) <= LAYOUT_PARTITION:
            return layout
        lookup = Lookup(self.settings.reading("layout"), committed=False)
        try:
            read_layout(lookup, self.settings, layout)
        except KafkaException as error:
            raise LogError(f"{self.settings}: {error.args[0]}") from error
        finally:
            lookup.close()
        return layout

    def _write(self, generation: int, partitions: int) -> None:
        """Writes a generation down."""
        outcome: list[KafkaError | None] = []

        def delivered(error: KafkaError | None, _message: Message) -> None:
            outcome.append(error)

        producer = Producer(self.settings.client("layout") | {"acks": "all", "linger.ms": 0})
        key, value = record_of(generation, partitions)
        registry = self._name(Topic.REGISTRY)
        producer.produce(registry, value, key, LAYOUT_PARTITION, on_delivery=delivered)
        producer.flush(_WRITTEN_S)
        if outcome != [None]:
            why = outcome[0].str() if outcome and outcome[0] is not None else "no broker has answered"
            raise LogError(f"{registry} cannot be told of {partitions} partitions: {why}")

    # ------------------------------------------------------------------ making and growing

    def make_topics(self, partitions: int | None, replication: int) -> list[topics.TopicSpec]:
        """Makes those that are missing, and says which. `partitions`: None for as many as there are.

        Another app of the namespace may have made events: then their partitions are the first generation here, too.
        """
        found, written = self._found(), self._written().generations
        there = max(written, default=found.get(self._name(Topic.JOURNAL)))
        wanted = partitions or there
        if wanted is None or there not in (None, wanted):
            raise UsageError(
                f"the journal has {there} partitions already; more are made by `perdure topics grow`"
            )
        generations = written or _generations(found.get(self._name(Topic.EVENTS), wanted), wanted)
        specs = topics.specs(self.settings, generations, replication=replication)
        missing = [spec for spec in specs if spec.name not in found]
        if missing and replication > (brokers := self.admin.brokers()):
            raise UsageError(
                f"{replication} copies need as many brokers, and {self.settings} has {brokers}: add brokers, or make "
                f"the topics with --replication {brokers}"
            )
        if missing:
            self.admin.create(missing, replication)
        for number, count in enumerate(generations[len(written) :], len(written) + 1):
            self._write(number, count)
        return missing

    def grow(self, partitions: int) -> None:
        """Adds a generation, so that the journal has so many partitions. Workers and clients may be at work."""
        before = self._written().generations
        if not before:
            raise LogError(
                f"{self.settings} does not say how its partitions came about: `perdure topics create` writes it down"
            )
        if partitions <= before[-1]:
            raise UsageError(
                f"the journal has {before[-1]} partitions already; it grows to more, and never shrinks"
            )
        names = [self._name(Topic.JOURNAL), topics.snapshots_name(self.settings)]
        self.admin.add_partitions(names, partitions)
        self._write(len(before) + 1, partitions)
        after = self._written().generations
        if after[len(before) : len(before) + 1] != (partitions,):
            raise LogError(
                f"somebody else has grown the journal meanwhile: it has {after[-1]} partitions now"
            )

    # ------------------------------------------------------------------ checking

    def check_safe(self) -> dict[str, str]:
        """The ids of the topics whose loss is to be noticed. Raises LogError, with all reasons, when runs could be lost
        here."""
        if fatal := [str(fault) for fault in self.faults() if fault.fatal]:
            raise LogError("\n".join([f"{self.settings} is not safe to run on:", *fatal]))
        return {name: found for name, found in self.ids(ANSWER_S).items() if found is not None}

    def ids(self, within_s: float = LOOK_S) -> dict[str, str | None]:
        """The ids of the journal's topic and of that of events, None for one that is not there."""
        return self.admin.ids([self._name(Topic.JOURNAL), self._name(Topic.EVENTS)], within_s=within_s)

    def faults(self) -> list[preflight.Fault]:
        """What is wrong with the topics."""
        written = self._written().generations
        wanted = topics.specs(
            self.settings, written or self.layout().generations or (1,), replication=_REPLICATION_MAX
        )
        found = self.admin.describe([spec.name for spec in wanted])
        faults = preflight.faults_of(self.settings, wanted, found, development=self._development)
        registry = found.get(self._name(Topic.REGISTRY))
        if not written and registry is not None and registry.partitions > LAYOUT_PARTITION:
            why = (
                "does not say how the journal came to its partitions; `perdure topics create` writes it down"
            )
            faults.append(preflight.Fault(self._name(Topic.REGISTRY), True, why))
        return faults


def _generations(events: int, journal: int) -> tuple[int, ...]:
    """As many as events have are the first ones; further ones are a second generation."""
    if journal < events:
        raise UsageError(
            f"events have {events} partitions already, and each of them has its owner in the journal: make at least "
            f"as many, not {journal}"
        )
    return (events,) if journal == events else (events, journal)
