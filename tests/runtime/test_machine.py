"""The machine in words."""

import getpass
import json
import platform

from distill.runtime.machine import describe_machine, format_machine


def test_machine_is_described_without_names_of_people_or_hosts():
    machine = describe_machine()
    assert machine["cores"] >= 1
    assert machine["processor"]
    told = json.dumps(machine)
    assert platform.node() not in told or not platform.node()
    assert f'"{getpass.getuser()}"' not in told


def test_machine_in_one_line_has_gpus_first_and_equal_ones_once():
    machine = {
        "system": "Linux x86_64",
        "processor": "AMD EPYC",
        "cores": 1,
        "memory_gib": None,
        "gpus": ["H100", "H100"],
    }
    assert format_machine(machine) == "2 x H100, 1 core of AMD EPYC, Linux x86_64"
    machine |= {"gpus": [], "cores": 8, "memory_gib": 16}
    assert format_machine(machine) == "8 cores of AMD EPYC, 16 GiB, Linux x86_64"
