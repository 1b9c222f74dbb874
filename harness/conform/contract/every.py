"""The whole contract, in the order in which it is played."""

from harness.conform.contract import enqueueing, operating, reading, registration

EXCHANGES = (
    *registration.EXCHANGES,
    *enqueueing.EXCHANGES,
    *reading.EXCHANGES,
    *operating.EXCHANGES,
)
