"""What the front counts of itself, shown at /metrics below what the serving process counts."""

from __future__ import annotations

from itertools import product

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

PARTS = ("api", "console", "phonebook", "health")


class Counts:
    """The numbers of the front process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "ostiary_http_requests_total",
            "Requests answered.",
            ("part", "status"),  # status: 2xx, 3xx, …
            registry=self.registry,
        )
        self._seconds = Histogram(
            "ostiary_http_request_seconds",
            "Time to the first byte of an answer.",
            ("part",),
            registry=self.registry,
        )
        self._by_answer = {
            (part, status): (self._requests.labels(part, f"{status}xx"), self._seconds.labels(part))
            for part, status in product(PARTS, range(1, 6))
        }
        self.listeners = Gauge(
            "ostiary_event_listeners", "Streams of events that are open.", registry=self.registry
        )
        self.dropped = Counter(
            "ostiary_events_dropped_total",
            "Events nobody got: who listened was too slow, or the broker was away.",
            ("to",),  # stream, mqtt
            registry=self.registry,
        )
        self.published = Counter(
            "ostiary_mqtt_published_total", "Events the broker has confirmed.", registry=self.registry
        )
        self.mqtt_up = Gauge("ostiary_mqtt_up", "1: signed in to the broker.", registry=self.registry)
        self.log_ins = Counter(
            "ostiary_log_ins_total", "Tries to log in.", ("outcome",), registry=self.registry
        )

    def text(self) -> str:
        """Return the numbers in Prometheus's text format."""
        return generate_latest(self.registry).decode()

    def mqtt_is_up(self) -> bool:
        """Return whether the publisher is signed in to the broker."""
        return bool(self.registry.get_sample_value("ostiary_mqtt_up"))

    def answered(self, part: str, status: int, seconds: float) -> None:
        """Count an answer of one of PARTS."""
        requests, histogram = self._by_answer[part, status // 100]
        requests.inc()
        histogram.observe(seconds)
