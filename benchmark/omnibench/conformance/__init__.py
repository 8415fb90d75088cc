"""The conformance kit: what an encoder, a dataset and a task must do, for anybody's tests."""

from omnibench.conformance.datasets import check_dataset
from omnibench.conformance.encoders import check_encoder
from omnibench.conformance.findings import Finding, assert_conforms
from omnibench.conformance.tasks import check_task

__all__ = ["Finding", "assert_conforms", "check_dataset", "check_encoder", "check_task"]
