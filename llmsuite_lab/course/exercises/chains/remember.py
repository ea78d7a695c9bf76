"""Memory per conversation: a reducer that adds to one thread and leaves the others alone."""

from llmsuite_lab.course.exercises import Exercise, Wrong, expect


def remember(memory, thread, message):
    """The solution: a new memory in which this thread's messages end with the new one."""
    return {**memory, thread: [*memory.get(thread, []), message]}


def _one_for_all(memory, thread, message):
    everything = [m for messages in memory.values() for m in messages]
    return {**memory, thread: [*everything, message]}


def _forgets(memory, thread, message):
    return {**memory, thread: [message]}


def _in_place(memory, thread, message):
    memory.setdefault(thread, []).append(message)
    return memory


def _only_known(memory, thread, message):
    return {**memory, thread: [*memory[thread], message]}


def _check(answer) -> None:
    saved = {"ann": ["the kettle?", "67 crowns"], "bob": ["the lamp?"]}
    try:
        fresh = answer({}, "cid", "hello")
    except KeyError:
        fresh = None
    expect(fresh == {"cid": ["hello"]}, "A thread that nobody has spoken in begins with its first message; it is no error.")
    after = answer(saved, "ann", "and it?")
    expect(saved["ann"] == ["the kettle?", "67 crowns"], "You changed the memory that was given. A checkpoint must stay as it was saved.")
    expect(after["ann"] != ["and it?"], "The earlier messages of the thread are gone. Without them 'it' means nothing.")
    expect("the lamp?" not in after["ann"], "Bob's message is in Ann's conversation: threads must not mix.")
    expect(after == {"ann": ["the kettle?", "67 crowns", "and it?"], "bob": ["the lamp?"]}, "Add the message at the end of its own thread.")


EXERCISE = Exercise(
    id="chains.remember",
    notebook="05_langchain_applications",
    title="a memory whose threads do not mix",
    statement=(
        "Write `remember(memory, thread, message)`. `memory` is a dictionary from a thread's name to its list of messages. Return the memory **after** the "
        "message: it stands at the end of its own thread, every other thread is as before, and the memory that was given is unchanged."
    ),
    name="remember",
    starter="def remember(memory, thread, message):\n    ...",
    check=_check,
    hints=(
        "Build a new dictionary and, for the one thread, a new list.",
        "`memory.get(thread, [])` is empty for a thread that is new.",
        "`{**memory, thread: [*memory.get(thread, []), message]}`",
    ),
    solution=remember,
    wrong=(
        Wrong(_one_for_all, "threads must not mix"),
        Wrong(_forgets, "earlier messages of the thread are gone"),
        Wrong(_in_place, "changed the memory that was given"),
        Wrong(_only_known, "begins with its first message"),
    ),
)
