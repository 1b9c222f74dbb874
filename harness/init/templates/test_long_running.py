"""The task as a worker runs it: deployed from this folder, fed by a queue, started again after a crash."""


def test_the_words_of_a_text_are_counted(send):
    assert send({"text": "Hello, wonderful world!"}).result == {"words": 3, "longest": "wonderful"}


def test_what_is_no_text_fails_with_a_reason(send):
    assert "text: expected a string, got 7" in send({"text": 7}).error


def test_it_goes_on_after_a_crash_of_its_process(send, crash):
    crash()

    assert send({"text": "still here"}).result["words"] == 2
