"""The kinds of objects that the operator deals with."""

from __future__ import annotations

from ark_api.names import API_VERSION, PLURAL
from ark_kube.objects import Resource

ARK_AGENTS = Resource(API_VERSION, PLURAL)
DEPLOYMENTS = Resource("apps/v1", "deployments")
SCALED_OBJECTS = Resource("keda.sh/v1alpha1", "scaledobjects")
AUTOSCALERS = Resource("autoscaling/v2", "horizontalpodautoscalers")
