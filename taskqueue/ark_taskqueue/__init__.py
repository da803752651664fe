"""The task queue: what a queue, its depth, its results and its dead letters are in Redis.

Producers use `Producer`, workers `Consumer`, people `DeadLetters`, autoscalers `read_depths`; each takes a client
from `connect` and the queue's keys. `SyncProducer` is for programs without an event loop. Knows Redis, and nothing of
gRPC, Kubernetes or LLMs.
"""

from ark_taskqueue.errors import (
    BudgetExceeded,
    InvalidAddress,
    InvalidGroupName,
    InvalidQueueName,
    InvalidTaskId,
    KeyInUse,
    NotAStream,
    QueueFull,
    RedisRefused,
    RedisUnavailable,
    ResultGone,
    TaskQueueError,
    UnknownFormat,
)
from ark_taskqueue.keys import DEFAULT_GROUP, QueueKeys
from ark_taskqueue.ledger.budget import Budget, Reservation, Settlement, TokenUsage
from ark_taskqueue.ledger.token_ledger import TokenLedger, read_usages
from ark_taskqueue.priority import PRIORITIES, Priority
from ark_taskqueue.redis.address import DEFAULT_CONNECTION, Address, parse_address, parse_connections
from ark_taskqueue.redis.client import Client, connect
from ark_taskqueue.redis.server import ServerFacts, read_server
from ark_taskqueue.synchronous import SyncProducer
from ark_taskqueue.tasks.answers import Counting, Ended, Reclaimed
from ark_taskqueue.tasks.consumer import Consumer
from ark_taskqueue.tasks.counts import Counts, read_counts
from ark_taskqueue.tasks.dead_letters import DeadLetters, count_dead_letters
from ark_taskqueue.tasks.demand import read_demand, read_recent_demand
from ark_taskqueue.tasks.demand_span import DemandSpan
from ark_taskqueue.tasks.depth import Depth
from ark_taskqueue.tasks.measure import read_depth, read_depths
from ark_taskqueue.tasks.policy import Leases, LettersKept, RetryPolicy
from ark_taskqueue.tasks.producer import Cancelled, Producer, Submission
from ark_taskqueue.tasks.state import TaskState
from ark_taskqueue.tasks.task import CLEAN_STOPS, DeadLetter, Outcome, Result, Task

__all__ = [
    "CLEAN_STOPS",
    "DEFAULT_CONNECTION",
    "DEFAULT_GROUP",
    "PRIORITIES",
    "Address",
    "Budget",
    "BudgetExceeded",
    "Cancelled",
    "Client",
    "Consumer",
    "Counting",
    "Counts",
    "DeadLetter",
    "DeadLetters",
    "DemandSpan",
    "Depth",
    "Ended",
    "InvalidAddress",
    "InvalidGroupName",
    "InvalidQueueName",
    "InvalidTaskId",
    "KeyInUse",
    "Leases",
    "LettersKept",
    "NotAStream",
    "Outcome",
    "Priority",
    "Producer",
    "QueueFull",
    "QueueKeys",
    "Reclaimed",
    "RedisRefused",
    "RedisUnavailable",
    "Reservation",
    "Result",
    "ResultGone",
    "RetryPolicy",
    "ServerFacts",
    "Settlement",
    "Submission",
    "SyncProducer",
    "Task",
    "TaskQueueError",
    "TaskState",
    "TokenLedger",
    "TokenUsage",
    "UnknownFormat",
    "connect",
    "count_dead_letters",
    "parse_address",
    "parse_connections",
    "read_counts",
    "read_demand",
    "read_depth",
    "read_depths",
    "read_recent_demand",
    "read_server",
    "read_usages",
]
