"""Makes each alert of the rendered PrometheusRule fire, and none for a service in good health, with `promtool test rules`.

alerts.yaml has the series. Every alert also has to say what to do, and to lead to a heading of README.md that says more.
"""

import re
import subprocess
import tempfile
from pathlib import Path

import yaml
from chart import HERE, ROOT, documents, find, render_values

TARGET = {"job": "countersign", "instance": "10.0.0.1:9464"}
README = "https://git.example.com/countersign/README.md"
# Minutes at which a service in good health is looked at.
LOOKS = (2, 10, 30, 60, 119)


def rendered():
    """The groups of the PrometheusRule."""
    docs = documents(render_values({"monitoring": {"rules": {"enabled": True, "runbookUrl": README}}}))
    return find(docs, "PrometheusRule", "countersign")["spec"]["groups"]


def series(name, values):
    """A series of the target."""
    metric, _, labels = name.partition("{")
    target = ", ".join(f'{label}="{value}"' for label, value in TARGET.items())
    return {"series": f"{metric}{{{target}, {labels or '}'}".replace(", }", "}"), "values": values}


def look(minute, alert, *expected):
    return {"eval_time": f"{minute}m", "alertname": alert, "exp_alerts": list(expected)}


def test(name, values, looks):
    inputs = [series(*item) for item in values.items()]
    return {"name": name, "interval": "1m", "input_series": inputs, "alert_rule_test": looks}


def tests(alerts, cases):
    healthy = cases["healthy"]
    yield test("a service in good health", healthy, [look(minute, alert) for minute in LOOKS for alert in alerts])
    for name, case in cases["alerts"].items():
        assert case["series"].keys() <= healthy.keys(), f"{name}: a service in good health lacks the series"
        rule = alerts[name]
        fired = {
            "exp_labels": case["labels"] | rule["labels"],
            "exp_annotations": rule["annotations"] | {"summary": case["summary"]},
        }
        others = [look(case["fires"], other) for other in alerts if other != name]
        looks = [look(case["quiet"], name), look(case["fires"], name, fired), *others]
        yield test(name, healthy | case["series"], looks)


def runbooks(alerts):
    """What to do, and where more of it is written, as GitHub and GitLab make the address of a heading."""
    headings = {heading.lower() for heading in re.findall(r"^#{2,} (\w+)$", (ROOT / "README.md").read_text(), re.M)}
    for name, rule in alerts.items():
        annotations = rule["annotations"]
        assert annotations.get("summary") and annotations.get("runbook"), f"{name} does not say what to do"
        page, anchor = annotations["runbook_url"].split("#")
        assert page == README and anchor in headings, f"{name} leads to no heading of README.md"


def main():
    groups, cases = rendered(), yaml.safe_load((HERE / "alerts.yaml").read_text())
    alerts = {rule["alert"]: rule for group in groups for rule in group["rules"]}
    assert set(alerts) == set(cases["alerts"]), f"alerts.yaml and the rules differ: {set(alerts) ^ set(cases['alerts'])}"
    runbooks(alerts)
    with tempfile.TemporaryDirectory() as directory:
        for name, content in [
            ("rules.yaml", {"groups": groups}),
            ("tests.yaml", {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": list(tests(alerts, cases))}),
        ]:
            (Path(directory) / name).write_text(yaml.safe_dump(content))
        done = subprocess.run(["promtool", "test", "rules", "tests.yaml"], cwd=directory, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    print(f"{len(alerts)} alerts fire when they should, and lead to README.md")


if __name__ == "__main__":
    main()
