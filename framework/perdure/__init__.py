"""perdure: durable functions on a log. The public names; each is explained where it is defined."""

from perdure.app import App
from perdure.authoring.cron import Cron
from perdure.authoring.ending import CancelOn, Timeouts
from perdure.authoring.events import Event, Received, Tick
from perdure.authoring.functions import Function
from perdure.authoring.limits import (
    Batch,
    Concurrency,
    Debounce,
    Idempotency,
    Priority,
    RateLimit,
    Singleton,
    Throttle,
)
from perdure.authoring.retry import Retry
from perdure.authoring.steps import step
from perdure.authoring.triggers import Trigger
from perdure.client.handle import Handle
from perdure.declaring import FunctionOptions
from perdure.errors import (
    AppendFailed,
    EncodingError,
    EntryTooLarge,
    IncompatibleSchema,
    InvalidEvent,
    LevelTooNew,
    LogDamaged,
    LogError,
    NonDeterminismError,
    NonRetriableError,
    PayloadDamaged,
    PayloadError,
    PayloadLocked,
    PayloadMissing,
    PayloadStoreError,
    PayloadTooLarge,
    PerdureError,
    RequestRefused,
    RetryAfterError,
    RunCancelled,
    RunEnded,
    RunFailed,
    RunNotFound,
    RunSkipped,
    StepError,
    StepTimeout,
    Stuck,
    UsageError,
)
from perdure.execution.context import Context, FailureContext
from perdure.execution.current import StepInfo, current_step
from perdure.execution.sync_context import SyncContext, SyncFailureContext
from perdure.execution.waits import Signal
from perdure.index.reader import Skip
from perdure.index.views import RunView, StepView
from perdure.payloads.aesgcm import AesGcm
from perdure.payloads.chain import PayloadCodec
from perdure.payloads.folder import FolderStore
from perdure.payloads.objects import ObjectStore
from perdure.payloads.settings import Payloads
from perdure.payloads.store import PayloadStore
from perdure.payloads.zstd import Zstd
from perdure.steering.schedules import ScheduleView

__all__ = [
    "AesGcm",
    "App",
    "AppendFailed",
    "Batch",
    "CancelOn",
    "Concurrency",
    "Context",
    "Cron",
    "Debounce",
    "EncodingError",
    "EntryTooLarge",
    "Event",
    "FailureContext",
    "FolderStore",
    "Function",
    "FunctionOptions",
    "Handle",
    "Idempotency",
    "IncompatibleSchema",
    "InvalidEvent",
    "LevelTooNew",
    "LogDamaged",
    "LogError",
    "NonDeterminismError",
    "NonRetriableError",
    "ObjectStore",
    "PayloadCodec",
    "PayloadDamaged",
    "PayloadError",
    "PayloadLocked",
    "PayloadMissing",
    "PayloadStore",
    "PayloadStoreError",
    "PayloadTooLarge",
    "Payloads",
    "PerdureError",
    "Priority",
    "RateLimit",
    "Received",
    "RequestRefused",
    "Retry",
    "RetryAfterError",
    "RunCancelled",
    "RunEnded",
    "RunFailed",
    "RunNotFound",
    "RunSkipped",
    "RunView",
    "ScheduleView",
    "Signal",
    "Singleton",
    "Skip",
    "StepError",
    "StepInfo",
    "StepTimeout",
    "StepView",
    "Stuck",
    "SyncContext",
    "SyncFailureContext",
    "Throttle",
    "Tick",
    "Timeouts",
    "Trigger",
    "UsageError",
    "Zstd",
    "current_step",
    "step",
]
