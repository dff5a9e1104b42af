"""Public functions of pyscfad, called: its gradient rules are audited where they are used."""

import jax
from common import tried
from pyscfad import cc, config_update, dft, gto, mp, scf

molecule = gto.Mole()
molecule.atom = "H 0 0 0; H 0 0 0.74"
molecule.basis = "631g"
molecule.verbose = 0
molecule.build()


def solved(method, *after):
    """The energy of the molecule, and its gradient."""

    def energy(molecule):
        result = method(molecule)
        value = result.kernel()
        for step in after:
            result = step(result)
            value = result.kernel()
        return value if not after else result.e_tot

    jax.grad(energy)(molecule)


config_update("pyscfad_scf_implicit_diff", True)
tried(
    lambda: solved(scf.RHF),
    lambda: solved(scf.UHF),
    lambda: solved(lambda m: scf.RHF(m).density_fit()),
    lambda: solved(lambda m: dft.RKS(m, xc="lda,vwn")),
    lambda: solved(lambda m: dft.RKS(m, xc="pbe")),
    lambda: solved(scf.RHF, mp.MP2),
    lambda: solved(lambda m: scf.RHF(m).density_fit(), mp.dfmp2.DFRMP2),
    lambda: solved(scf.RHF, cc.RCCSD),
)
