"""Every claim of the paper: what theory predicts beside what a simulation gives.

Runs the claims of `ctflow.claims` and draws them; `ctflow verify` prints the same numbers. A verdict comes
from a stated tolerance (so many standard errors, or a bound), and a broken energy turns it. Where a
simulation contradicts the paper's wording, the claim's module says so:

    low temperature    in d dimensions the mass comes only once 1/τ exceeds about d
    sharpening         J − F is of second order in the kernel's temperature, and never positive
    knife-edge         overlap under equal fields is invariant, yet a saddle
    barrier            with noise, clouds that answer each other in turn end overlapped
    initialisation     heterogeneity makes room for a gap; on a ring of latents the start decides on its use,
                       on two clusters every start ends with one
    directions         one direction of InfoNCE leaves a gap too: the same on a ring, about half on clusters
    overlap            two laws part above the critical temperature, along waves that centroids do not show
    phases             room for a gap opens below a critical temperature, predicted without a gap in sight;
                       on a ring it costs nothing, on two clusters it lowers the energy
    onset              the same prediction holds for other couplings, and does not change beyond a few
                       dimensions
    least control      pulling the means together closes no gap in law at any strength
    modalities         waves part three and more modalities later than two, and their rings share one height
    sigmoid            SigLIP's fixed bias sets the gap, whatever the start; a learned bias sets it free
    batches            finite batches hardly move τ*; their noise selects among states of one energy

    python experiments/theory.py --preset paper --out figures
"""

from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from ctflow import claims
from ctflow.claims import report
from ctflow.experiment import Result, columns, main
from experiments.plots.theory import plot


@dataclass(frozen=True)
class Config:
    """Settings. The quick round takes three minutes on two cores, the full one about six."""

    quick: bool = True
    claims: tuple[str, ...] = claims.CLAIMS
    seed: int = 0

    def __post_init__(self):
        if not self.claims:
            raise ValueError("claims must not be empty")
        for name in self.claims:
            claims.module_of(name)


PRESETS = {
    "paper": Config(quick=False),
    "quick": Config(),
    "smoke": Config(claims=("convexity", "sharpening")),
}


def run(config: Config, checkpoint: Path | None = None) -> Result:
    """Run the claims; a table of all checks, and the curves of each claim."""
    with tqdm(total=len(config.claims), desc="theory", unit="claim") as bar:

        def done(finding: claims.Finding) -> None:
            bar.write(f"{finding.title}: {report.verdict(finding.evidence.holds)} in {finding.seconds:.0f} s")
            bar.update()

        findings = claims.verify(
            config.claims,
            quick=config.quick,
            seed=config.seed,
            done=done,
            checkpoint=checkpoint,
        )
    tables = {"claims": columns(report.rows(findings))}
    for finding in findings:
        tables |= {f"{finding.name}_{curve}": table for curve, table in finding.evidence.curves.items()}
    print(report.summary(findings))
    facts = {
        finding.name: {
            "title": finding.title,
            "source": finding.source,
            "holds": finding.evidence.holds,
            "numbers": len(finding.evidence.checks),
            "sample": finding.evidence.sample,
        }
        for finding in findings
    }
    return Result(tables, {}, facts)


if __name__ == "__main__":
    main(name="theory", presets=PRESETS, run=run, plot=plot, description=__doc__ or "")
