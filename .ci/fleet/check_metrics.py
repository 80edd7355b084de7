"""Reads the metrics of a fleet with the OpenMetrics parser of prometheus_client, and checks the number of machines.

Usage: check_metrics.py URL MACHINES
"""

import sys
import urllib.request

from prometheus_client.openmetrics.parser import text_string_to_metric_families

url, machines = sys.argv[1], int(sys.argv[2])
with urllib.request.urlopen(url, timeout=30) as response:
    media_type = response.headers["Content-Type"]
    text = response.read().decode("utf-8")
assert media_type == "application/openmetrics-text; version=1.0.0; charset=utf-8", media_type
families = {family.name: family for family in text_string_to_metric_families(text)}
total = sum(sample.value for sample in families["gf_fleet_machines"].samples)
assert total == machines, total
sign_ins = families["gf_fleet_sign_in_seconds"]
assert sign_ins.type == "histogram" and sign_ins.unit == "seconds", sign_ins
count = next(sample.value for sample in sign_ins.samples if sample.name.endswith("_count"))
assert count >= machines, count
assert families["gf_fleet_losses"].type == "counter"
for name in ["machines_not_connected", "machines_without_thread", "actions_without_ending", "surplus_endings"]:
    values = [sample.value for sample in families[f"gf_fleet_{name}"].samples]
    assert values == [0], (name, values)
print(f"{len(families)} families, {count:.0f} sign-ins")
