"""Public functions of jaxley, called: its gradient rules are audited where they are used."""

import jaxley as jx
from common import tried
from jaxley.channels import HH


def run():
    cell = jx.Cell(jx.Branch(jx.Compartment(), ncomp=2), parents=[-1, 0])
    cell.insert(HH())
    cell.branch(0).comp(0).record(verbose=False)
    cell.branch(0).comp(0).stimulate(jx.step_current(0.1, 0.2, 0.1, 0.025, 0.5), verbose=False)
    return jx.integrate(cell)


tried(run)
