"""The documentation of these tests."""
from contract_table import DOCUMENT, with_table


def test_the_table_in_the_documentation_is_current():
    """docs/kernel_contract.md lists every test; tests/contract/contract_table.py --write brings it up to date."""
    document = DOCUMENT.read_text(encoding="utf-8")
    assert document == with_table(document)
