"""What a call costs: Ostiary beside its peers on the same work (`python -m tests.bench`)."""
