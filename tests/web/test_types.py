from concurrent.futures import ThreadPoolExecutor

from tests.web import page_types


def test_the_pages_types_are_those_of_the_registry() -> None:
    with ThreadPoolExecutor(1) as thread:  # this one may run the loop of the browser tests
        made = thread.submit(page_types.made).result(30)
    again = "they differ; run: python -m tests.web.page_types"
    assert page_types.FILE.read_text() == made, again
