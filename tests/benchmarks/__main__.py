"""Runs the benchmarks that are named, or all of them, and writes RESULTS.md and the figures in README.md."""

import argparse
import json
from datetime import UTC, datetime

from tests.benchmarks import (
    full_speed,
    history,
    large_records,
    lateness,
    left_out,
    looks,
    page_cost,
    process_cost,
    readme,
    shared_limit,
    startup,
    state_size,
)
from tests.benchmarks.report import COMMAND, FIGURES_FILE, RESULTS_FILE, Report, machine, summary

BENCHMARKS = (
    page_cost,
    process_cost,
    full_speed,
    large_records,
    shared_limit,
    state_size,
    lateness,
    history,
    looks,
    left_out,
    startup,
)


def main() -> None:
    """The command."""
    names = [benchmark.NAME for benchmark in BENCHMARKS]
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(names)}; all by default")
    parser.add_argument("--quick", action="store_true", help="small runs, to see that all works; nothing is written")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(names):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    for benchmark in BENCHMARKS:
        if arguments.names and benchmark.NAME not in arguments.names:
            continue
        print(f"{datetime.now(UTC):%H:%M:%S} {benchmark.NAME}: {(benchmark.__doc__ or '').splitlines()[0]}", flush=True)
        report = benchmark.run(quick=arguments.quick)
        print(f"\n{report.text}\n\n{summary(report.figures)}\n", flush=True)
        if not arguments.quick:
            _keep(benchmark.NAME, report)
    if not arguments.quick:
        readme.main()


def _keep(name: str, report: Report) -> None:
    """Keeps this benchmark's figures, beside what the others found when they were run last."""
    kept = json.loads(FIGURES_FILE.read_text()) if FIGURES_FILE.exists() else {}
    kept[name] = {"measured": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", "machine": machine(), **report.to_json()}
    kept = {benchmark.NAME: kept[benchmark.NAME] for benchmark in BENCHMARKS if benchmark.NAME in kept}
    FIGURES_FILE.write_text(json.dumps(kept, indent=2))
    RESULTS_FILE.write_text(_results(kept))


def _results(kept: dict[str, dict[str, object]]) -> str:
    reports = {}
    for name, entry in kept.items():
        members = {key: value for key, value in entry.items() if key not in ("measured", "machine")}
        reports[name] = Report.from_json(members)
    machines = sorted({str(entry["machine"]) for entry in kept.values()})
    parts = [
        "# What it costs\n",
        f"Measured by `{COMMAND}`, which writes this file; each benchmark's last run counts. Other work may have run "
        "on the machine meanwhile, so ratios within a run say more than seconds. Where a range stands, it is of "
        "several runs and the figure is their median; the runs under Graph's limit take minutes each and are made "
        "once. The emulator is always a process of its own, and the connector's process has Python's bytecode cached, "
        "as in an image. `results.json` holds the same figures, so that one benchmark can be run again without the "
        "others.\n",
        *(f"Machine: {machine_}\n" for machine_ in machines),
        summary(figure for report in reports.values() for figure in report.figures) + "\n",
    ]
    for name, report in reports.items():
        parts.append(f"## {report.title}\n\n`{name}`, {kept[name]['measured']}\n\n{report.text}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    main()
