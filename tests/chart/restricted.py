"""The rules of Kubernetes' Pod Security Standard "restricted", and what else this chart promises of its pods."""

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def faults(pod):
    """What a pod's specification breaks."""
    context = pod.get("securityContext", {})
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(field):
            yield f"{field} is on"
    for volume in pod.get("volumes", []):
        if not VOLUMES & set(volume):
            yield f"volume {volume['name']} is of a kind that is not allowed"
    for container in pod.get("initContainers", []) + pod["containers"]:
        for fault in container_faults(container, context):
            yield f"container {container['name']}: {fault}"


def container_faults(container, pod_context):
    context = container.get("securityContext", {})
    either = {**pod_context, **context}
    if context.get("privileged"):
        yield "is privileged"
    if context.get("allowPrivilegeEscalation") is not False:
        yield "may gain privileges"
    if either.get("runAsNonRoot") is not True or either.get("runAsUser", 1) == 0:
        yield "may run as root"
    if either.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
        yield "has no seccomp profile"
    capabilities = context.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", []):
        yield "keeps capabilities"
    if set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
        yield "adds capabilities"
    if any("hostPort" in port for port in container.get("ports", [])):
        yield "takes a port of the node"


def own_faults(pod):
    """Beyond the standard, for pods of the chart itself."""
    if pod.get("automountServiceAccountToken") is not False:
        yield "has a service account's token"
    for container in pod["containers"]:
        if "countersign" in container["image"]:
            if not container.get("securityContext", {}).get("readOnlyRootFilesystem"):
                yield f"container {container['name']} can write to its root"
            if not container.get("resources", {}).get("limits", {}).get("memory"):
                yield f"container {container['name']} has no limit of memory"
