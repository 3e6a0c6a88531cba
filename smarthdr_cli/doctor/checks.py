"""What ``smarthdr doctor`` looks at, part by part; whatever is broken is a finding, never a crash."""

from collections.abc import Callable
from typing import Any

from smarthdr_cli.doctor import files, installation, machine
from smarthdr_cli.doctor.findings import Checkup, Part, said
from smarthdr_cli.errors import MemoryLimitError, SmartHDRError, out_of_memory

CHECKS: dict[str, Callable[[Part], None]] = {
    "versions": installation.versions, "extras": installation.extras, "cpu": machine.cpu, "memory": machine.memory,
    "devices": machine.devices, "weights": files.weights, "hub": files.hub, "cache": files.cache,
}  # fmt: skip


def checkup() -> Checkup:
    """Look at everything; takes some seconds, of which the self-test about one."""
    parts = [_run(name, check) for name, check in CHECKS.items()]
    test = Part("selftest")
    error = _self_test(test)
    return Checkup((*parts, test), error)


def _run(name: str, check: Callable[[Part], None]) -> Part:
    part = Part(name)
    try:
        check(part)
    except Exception as error:
        part.say("!", part.name, said(error))
        if part.facts is None:
            part.facts = {"problem": said(error)}
    return part


def _self_test(part: Part) -> SmartHDRError | None:
    """Fuse the burst of known truth; what ``fuse`` would end with where that fails."""
    facts: dict[str, Any] = {"psnr_mu": None, "seconds": None, "model": None, "device": None, "problem": None}
    part.facts = facts
    try:
        from smarthdr_cli.doctor.selftest import self_test

        found = self_test()
    except Exception as error:
        facts["problem"] = said(error)
        part.say("!", "self-test", said(error))
        if isinstance(error, SmartHDRError):
            return error
        if out_of_memory(error):
            return MemoryLimitError("out of memory in the self-test")
        return SmartHDRError(f"fusing does not work here: {said(error)}")
    model, device = found.report["model"]["name"], f"{found.report['device']} in {found.report['precision']}"
    facts.update(psnr_mu=round(found.psnr_mu, 2), seconds=round(found.seconds, 3), model=model, device=device)
    words = f"three frames of {model} on {device}: {found.psnr_mu:.1f} dB from the truth, {found.seconds:.2f} s"
    part.say("ok", "self-test", words)
    return None
