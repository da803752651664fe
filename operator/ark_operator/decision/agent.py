"""An ArkAgent as the operator works with it: with the queue that its tasks come from."""

from __future__ import annotations

from functools import cached_property

from ark_api import agent
from ark_api.pin import owns_replicas
from ark_api.tenancy import Tenancy
from ark_kube.objects import Object
from ark_taskqueue.errors import InvalidQueueName
from ark_taskqueue.keys import QueueKeys


class Agent(agent.Agent):
    """One ArkAgent, and its queue."""

    @cached_property
    def queue(self) -> QueueKeys:
        """The queue that its tasks come from.

        Raises:
            InvalidQueueName: ``spec.queue`` has no possible stream or group.
        """
        return QueueKeys.for_agent(self.namespace, self.name, self.group, self.stream)

    def queue_within(self, tenancy: Tenancy) -> QueueKeys | None:
        """Return the queue where it is one and may be read; why it may not is the decision's to say."""
        try:
            queue = self.queue
        except InvalidQueueName:
            return None
        return queue if tenancy.allows(self.namespace, queue) else None


def slim_agent(item: Object) -> Object:
    """Keep of who owns which field what decisions rest on."""
    metadata = item["metadata"]
    if "managedFields" not in metadata:
        return item
    kept = [
        {
            "manager": entry["manager"],
            "operation": "Apply",
            "time": entry.get("time"),
            "fieldsV1": {"f:spec": {"f:replicas": {}}},
        }
        for entry in metadata["managedFields"]
        if owns_replicas(entry)
    ]
    rest = {name: value for name, value in metadata.items() if name != "managedFields"}
    return {**item, "metadata": {**rest, "managedFields": kept} if kept else rest}
