"""The log on Kafka."""

from perdure.logs.kafka.group import Timing
from perdure.logs.kafka.log import KafkaLog
from perdure.logs.kafka.settings import KafkaSettings, from_environment

__all__ = ["KafkaLog", "KafkaSettings", "Timing", "from_environment"]
