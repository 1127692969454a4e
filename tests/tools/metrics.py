"""Reads what /metrics says with Prometheus' own parser: metrics.py URL"""

import sys
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

with urllib.request.urlopen(sys.argv[1], timeout=10) as answer:
    kind = answer.headers["Content-Type"]
    text = answer.read().decode()

assert kind == "text/plain; version=0.0.4; charset=utf-8", kind
families = list(text_string_to_metric_families(text))
names = [family.name for family in families]
assert len(names) == len(set(names)), "each family comes once"
samples = 0
for family in families:
    assert family.name.startswith("tidings_"), family.name
    assert family.type in ("counter", "gauge"), family
    assert family.documentation.endswith("."), family
    assert family.samples, family
    for sample in family.samples:
        is_total = sample.name.endswith("_total")
        assert is_total == (family.type == "counter"), sample
        assert sample.value >= 0, sample
        samples += 1
labels = {key for family in families for sample in family.samples for key in sample.labels}
assert labels == {"worker", "mailbox", "reactor"}, labels
print(f"{len(families)} families, {samples} samples")
