"""Flows: the YAML file and the Python builder, checked and made into plans."""

from dataflare_flow.flow import Flow as Flow
from dataflare_flow.flow import Output as Output
