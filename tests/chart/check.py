"""Checks the chart: `check.py` compares what it renders with the snapshots, `check.py write` writes them anew.

Every file of values/ is linted, rendered, compared with its snapshots (the objects, and the notes of an installation), held against Pod
Security's "restricted" rules, and validated against the schemas of Kubernetes and of other vendors' kinds. Every set of values in
refusals.yaml is refused, and what stands beside it is not. HELM and KUBECTL_VALIDATE name the programs, CRDS the directories with
definitions of other vendors' kinds.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import restricted
import upgrade
import values  # which finds document
import yaml
from chart import CHART, HERE, ROOT, Refused, documents, notes, pod_specs, render, render_values, run, without_files, without_random
from document import README, blocks, names, rows, section

VALIDATE = os.environ.get("KUBECTL_VALIDATE", "kubectl-validate")
# Settings that the chart makes from other values, that Kubernetes sets, or that are of no use here.
MADE = {
    *("COUNTERSIGN_LISTEN", "COUNTERSIGN_HEALTH_LISTEN", "COUNTERSIGN_OPS_LISTEN", "COUNTERSIGN_CALLERS", "COUNTERSIGN_PLAINTEXT"),
    *("COUNTERSIGN_TLS_CERT", "COUNTERSIGN_TLS_KEY", "COUNTERSIGN_TLS_CLIENT_CA", "COUNTERSIGN_ENCRYPTION_KEYS", "DATABASE_URL"),
    *("COUNTERSIGN_LOG", "COUNTERSIGN_LOG_FILTER_FILE", "COUNTERSIGN_LOG_FORMAT", "COUNTERSIGN_INSECURE_OPEN"),
    *("KUBERNETES_SERVICE_HOST", "JWT_REFRESH_SECRET", "CREDS_IV", "OPENID_SESSION_SECRET", "SAML_SESSION_SECRET"),
}


def every_setting_is_a_value():
    """README.md's settings, but for those of OpenTelemetry, of which the schema takes any."""
    schema = json.loads((CHART / "values.schema.json").read_text())["properties"]
    listed, secrets = values.settings()
    listed = {name for name in listed if not name.startswith("OTEL_")}
    defaults = {name for name in yaml.safe_load((CHART / "values.yaml").read_text())["config"] if not name.startswith("OTEL_")}
    config, secret_config = (set(schema[name]["properties"]) for name in ("config", "secretConfig"))
    for what, seen, expected in [
        ("config in values.yaml", defaults, listed - secrets - MADE),
        ("config in values.schema.json", config, listed - secrets - MADE),
        ("secretConfig in values.schema.json", secret_config, secrets - MADE),
    ]:
        assert seen == expected, f"{what} and README.md's settings differ: {sorted(seen ^ expected)}"


def every_permission_is_a_value():
    """README.md's permissions, and their groups."""
    listed = {name for cells in rows(README, "| Permission | Sensitive |") for name in names(cells[0])}
    expected = listed | {permission.partition(".")[0] + ".*" for permission in listed}
    schema = json.loads((CHART / "values.schema.json").read_text())
    seen = set(schema["definitions"]["permission"]["enum"])
    assert seen == expected, f"permissions in values.schema.json and README.md differ: {sorted(seen ^ expected)}"


def every_crate_that_logs_is_known():
    """Those of the service, in the pattern of the log's filter."""
    listed = re.search(r"const CRATES.*?= \[(.*?)\];", (ROOT / "src/config/log.rs").read_text(), re.S)[1]
    pattern = json.loads((CHART / "values.schema.json").read_text())["definitions"]["filter"]["pattern"]
    seen = re.search(r"\((countersign\|[a-z0-9_|]+)\)", pattern)[1].split("|")
    assert seen == re.findall(r'"(\w+)"', listed), "the crates in values.schema.json and in src/config/log.rs differ"


def compare(name, text, write):
    snapshot = HERE / "snapshots" / name
    if write:
        snapshot.write_text(text)
    difference = subprocess.run(["diff", "-u", str(snapshot), "-"], input=text, capture_output=True, text=True)
    assert difference.returncode == 0, f"{name} differs; `check.py write` writes the snapshots anew\n{difference.stdout}"


def case(file, write):
    """One set of values; what was rendered."""
    run("lint", str(CHART), "--strict", "--values", str(file))
    text = render(file)
    compare(file.with_suffix(".txt").name, notes(file), write)
    compare(file.name, without_files(without_random(text)), write)
    docs = documents(text)
    for name, pod in pod_specs(docs):
        faults = [*restricted.faults(pod), *restricted.own_faults(pod)]
        assert not faults, f"{file.name}: {name}: {'; '.join(faults)}"
    return docs


def validate(rendered):
    """Every manifest against the schema of its kind, which has to be there."""
    with tempfile.TemporaryDirectory() as directory:
        count = 0
        for file, docs in rendered:
            for document in docs:
                (Path(directory) / f"{file.stem}-{count:03}-{document['kind']}.yaml").write_text(yaml.safe_dump(document))
                count += 1
        command = [VALIDATE, directory, "--local-crds", os.environ["CRDS"]]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, "\n".join(line for line in (done.stdout + done.stderr).splitlines() if not line.endswith("OK"))
    return count


def refused(entry):
    try:
        render_values(entry["values"])
    except Refused as refusal:
        said = str(refusal)
        assert entry["message"] in said, f"refused, but without {entry['message']}: {said}"
        assert "secret" not in entry or entry["secret"] not in said, f"a secret is shown: {said}"
    else:
        raise AssertionError(f"should be refused: {entry['values']}")


def readme_values():
    """The values that README.md shows, rendered."""
    shown = [block for language, block in blocks(section("### On Kubernetes", "## Operations")) if language == "yaml"]
    assert shown, "README.md shows no values"
    return [(ROOT / "README.md", documents(render_values(yaml.safe_load(block)))) for block in shown]


def main():
    write = sys.argv[1:] == ["write"]
    every_setting_is_a_value()
    every_permission_is_a_value()
    every_crate_that_logs_is_known()
    if not write:
        assert values.README.read_text() == values.readme(), "helm/README.md is out of date: run python tests/chart/values.py"
    rendered = [(file, case(file, write)) for file in sorted((HERE / "values").glob("*.yaml"))]
    print(f"{len(rendered)} sets of values render as their snapshots say", flush=True)
    rendered += readme_values()
    print(f"{validate(rendered)} manifests fit the schemas of their kinds", flush=True)
    print(f"{upgrade.kept()} Secrets are kept at an upgrade", flush=True)
    print(f"{upgrade.migrated()} objects are made for the migration of an upgrade", flush=True)
    refusals = yaml.safe_load((HERE / "refusals.yaml").read_text())
    beside = [entry["instead"] for entry in refusals if "instead" in entry]
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(refused, refusals))
        list(threads.map(render_values, beside))
    print(f"{len(refusals)} sets of values are refused, and {len(beside)} beside them are not", flush=True)


if __name__ == "__main__":
    main()
