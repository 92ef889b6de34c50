"""The benchmark of parameter servers, with one small cluster."""

import json

import pytest

ROWS, DIM = 400_000, 16


@pytest.fixture(scope="module")
def parameter_servers(benchmark):
    return benchmark("parameter_servers")


@pytest.mark.slow
def test_no_table_is_sent(parameter_servers, run_here, tmp_path):
    file = tmp_path / "servers.json"
    options = ("--servers", 2, "--rows", ROWS, "--dim", DIM, "--steps", 2)
    output, _ = run_here(parameter_servers, *options, "--json", file)
    (table,) = json.loads(file.read_text())["tables"]
    (row,) = table["rows"]
    found = dict(zip(table["headers"], (float(cell.replace(",", "")) for cell in row)))
    megabytes = 4 * DIM * ROWS / 1e6
    assert 0 < found["sent to make them, MB"] < megabytes
    assert 0 < found["sent in a step, kB"] < 1e3 * megabytes / 2
    assert found["a server grew by, MB"] > 3 * megabytes / 2
    assert f"{ROWS:,}" in output


def test_ratios(parameter_servers):
    def case(servers, rows, sent, server):
        rest = dict.fromkeys(("making", "seconds", "server_peak", "worker", "chief"), 0)
        return parameter_servers.Case(servers, rows, sent=sent, server=server, **rest)

    cases = [case(1, 10, 4, 7), case(1, 1000, 6, 100), case(4, 10, 5, 3), case(4, 1000, 5, 30)]
    values = [found["value"] for found in parameter_servers.bytes_ratios(cases)]
    assert values == [1.5, 1.0]
    (memory,) = parameter_servers.memory_ratios(cases)
    assert memory["value"] == memory["at_most"] == pytest.approx(0.3)


def test_bad_options(parameter_servers, run_here, capsys):
    with pytest.raises(SystemExit, match="2"):
        run_here(parameter_servers, "--servers", 0)
    assert "at least 1 of everything" in capsys.readouterr().err
