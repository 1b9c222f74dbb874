"""The metrics of ``/metrics`` by OTLP, through the official SDK; imported only where that is switched on.

They are the same, by the same names, and made from a snapshot in the same way: what a dashboard for one of
the two shows is true for the other.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client.core import Metric as Family

from appliance.clock import Clock


class OtlpMetrics:
    """Sends what ``collect`` gives; counters began at ``began_wall_s``."""

    def __init__(
        self,
        exporter: OTLPMetricExporter,
        resource: Resource,
        version: str,
        collect: Callable[[], Iterable[Family]],
        began_wall_s: float,
        clock: Clock,
    ) -> None:
        self._exporter = exporter
        self._resource = resource
        self._scope = InstrumentationScope("runqy-appliance", version)
        self._collect = collect
        self._began_ns = int(began_wall_s * 1e9)
        self._clock = clock

    def send(self) -> None:
        """Collect and send; the exporter itself logs what goes wrong."""
        now_ns = int(self._clock.wall() * 1e9)
        metrics = [self._metric(family, now_ns) for family in self._collect() if family.samples]
        scope = ScopeMetrics(self._scope, metrics, "")
        self._exporter.export(MetricsData([ResourceMetrics(self._resource, [scope], "")]))

    def stop(self) -> None:
        """Send a last time."""
        self.send()
        self._exporter.shutdown()

    def _metric(self, family: Family, now_ns: int) -> Metric:
        # As the names in Prometheus' format: a counter's ends in _total.
        name = f"{family.name}_total" if family.type == "counter" else family.name
        return Metric(name, family.documentation, "", self._data(family, now_ns))

    def _data(self, family: Family, now_ns: int) -> Gauge | Sum | Histogram:
        if family.type == "histogram":
            return Histogram(list(self._histograms(family, now_ns)), AggregationTemporality.CUMULATIVE)
        counts = family.type == "counter"
        began_ns = self._began_ns if counts else None
        points = [
            NumberDataPoint(dict(sample.labels), began_ns, now_ns, sample.value) for sample in family.samples
        ]
        return Sum(points, AggregationTemporality.CUMULATIVE, is_monotonic=True) if counts else Gauge(points)

    def _histograms(self, family: Family, now_ns: int) -> Iterator[HistogramDataPoint]:
        for labels, samples in _by_labels(family):
            totals = [(sample.labels["le"], int(sample.value)) for sample in samples if "le" in sample.labels]
            counts = [value for _, value in totals]
            yield HistogramDataPoint(
                attributes=labels,
                start_time_unix_nano=self._began_ns,
                time_unix_nano=now_ns,
                count=counts[-1],
                sum=next(sample.value for sample in samples if sample.name.endswith("_sum")),
                # Prometheus adds them up, OTLP does not.
                bucket_counts=[new - old for old, new in zip([0, *counts], counts, strict=False)],
                explicit_bounds=[float(bound) for bound, _ in totals[:-1]],
                min=0,
                max=0,
            )


def _by_labels(family: Family) -> Iterator[tuple[dict[str, str], list[Any]]]:
    found: dict[tuple[tuple[str, str], ...], list[Any]] = {}
    for sample in family.samples:
        found.setdefault(_identity(sample.labels), []).append(sample)
    for labels, samples in found.items():
        yield dict(labels), samples


def _identity(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, value) for name, value in labels.items() if name != "le"))
