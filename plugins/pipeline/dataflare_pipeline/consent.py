"""May a source's schema grow? Every step behind it is asked, with fresh instances, before a row is let through."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from dataflare.context import Context
from dataflare.drive import ProcessorDriver, SinkDriver, driver_for
from dataflare.grants import services
from dataflare.schema import Schema
from dataflare_pipeline.chains import in_order, inputs_of
from dataflare_pipeline.session import Session

log = logging.getLogger("dataflare.pipeline")
Schemas = dict[tuple[str, str], Schema]


def planned_with(
    session: Session, schemas: Mapping[tuple[str, str], Schema], step: str, output: str, wanted: Schema
) -> Schemas | None:
    """What every output is, once ``step.output`` has the wanted schema; None if a step behind it cannot take that."""
    known: Schemas = {**schemas, (step, output): wanted}
    behind = {step}
    for name in in_order(session.plan, session.plan.steps):
        if name == step or not any(edge.source in behind for edge in session.plan.inputs(name)):
            continue
        behind.add(name)
        try:
            known.update(_planned(session, name, known))
        except Exception as error:
            log.warning("`%s` cannot take the new schema of `%s.%s`: %s", name, step, output, error)
            return None
    return known


def _planned(session: Session, name: str, known: Mapping[tuple[str, str], Schema]) -> Schemas:
    inputs = inputs_of(session.plan, name, known)
    if not inputs:
        return {}
    around: dict[str, Any] = {"flow": session.plan.name, "base": session.base}
    granted = services(name, session.plan.steps[name].grants, session.host, **around)
    context = Context(step=name, **around, **granted)
    driver = driver_for(session.component(name), context)
    try:
        if isinstance(driver, SinkDriver):
            driver.plan(inputs[""])
            return {}
        assert isinstance(driver, ProcessorDriver)
        return {(name, output): schema for output, schema in driver.plan(inputs).items() if not schema.open}
    finally:
        driver.close()
