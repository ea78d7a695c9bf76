"""Memory per conversation: a reducer that adds to one thread and leaves the others alone."""

import copy
from collections import ChainMap, defaultdict

from llmsuite_lab.course.exercises import Exercise, Mistake, Wrong
from llmsuite_lab.course.exercises.cases import Case, check_cases
from llmsuite_lab.course.exercises.values import shown


def remember(memory, thread, message):
    """The solution: a new memory in which this thread's messages end with the new one."""
    return {**memory, thread: [*memory.get(thread, []), message]}


def _one_for_all(memory, thread, message):
    return {**memory, thread: [*(m for messages in memory.values() for m in messages), message]}


def _forgets(memory, thread, message):
    return {**memory, thread: [message]}


def _only_this_thread(memory, thread, message):
    return {thread: [*memory.get(thread, []), message]}


def _only_the_list(memory, thread, message):
    return [*memory.get(thread, []), message]


def _in_front(memory, thread, message):
    return {**memory, thread: [message, *memory.get(thread, [])]}


def _to_everyone(memory, thread, message):
    return {name: [*messages, message] for name, messages in {thread: [], **memory}.items()}


def _letters(memory, thread, message):
    return {**memory, thread: memory.get(thread, []) + list(message)}


def _once_each(memory, thread, message):
    return memory if message in memory.get(thread, []) else remember(memory, thread, message)


def _no_empty_message(memory, thread, message):
    return remember(memory, thread, message) if message else dict(memory)


def _last_three(memory, thread, message):
    return {**memory, thread: [*memory.get(thread, []), message][-3:]}


def _drops_empty_threads(memory, thread, message):
    return {name: messages for name, messages in remember(memory, thread, message).items() if messages}


def _only_known(memory, thread, message):
    return {**memory, thread: [*memory[thread], message]}


def _in_place(memory, thread, message):
    memory.setdefault(thread, []).append(message)
    return memory


def _list_in_place(memory, thread, message):
    after = dict(memory)
    after.setdefault(thread, []).append(message)
    return after


def _notes_the_thread(memory, thread, message):
    messages = memory.setdefault(thread, [])
    return {**memory, thread: [*messages, message]}


def _shares_a_default(memory, thread, message, new=[]):  # noqa: B006
    after = copy.deepcopy(memory)
    after.setdefault(thread, new).append(message)
    return after


def _all_copied(memory, thread, message):
    after = copy.deepcopy(memory)
    after.setdefault(thread, []).append(message)
    return after


def _by_or(memory, thread, message):
    return memory | {thread: memory.get(thread, []) + [message]}


def _by_names(memory, thread, message):
    names = list(memory) if thread in memory else [*memory, thread]
    return {name: list(memory.get(name, ())) + [message] * (name == thread) for name in names}


def _default_dict(memory, thread, message):
    after = defaultdict(list)
    for name in memory:
        after[name].extend(memory[name])
    after[thread].append(message)
    return after


def _by_try(memory, thread, message):
    try:
        messages = memory[thread][:]
    except KeyError:
        messages = []
    messages.insert(len(messages), message)
    after = memory.copy()
    after.update({thread: messages})
    return after


def _chain_map(memory, thread, message):
    return dict(ChainMap({thread: list(memory[thread]) if thread in memory else []}, memory)) | {
        thread: sum(([m] for m in [*memory.get(thread, []), message]), [])
    }


_SAVED = {"ann": ["the kettle?", "67 crowns"], "bob": ["the lamp?"]}


def _cases() -> list[Case]:
    own = "The message stands at the end of its own thread."
    others = "Every other thread is as before."
    new = "A thread that nobody has spoken in begins with its first message."
    long = [str(i) for i in range(40)]
    eve = {"eve": ["1", "2", "3", "4"], "dan": [], "": ["no name"]}
    return [
        Case(({"ann": ["a"]}, "ann", "b"), {"ann": ["a", "b"]}, "This is the statement's example."),
        Case((_SAVED, "ann", "and it?"), {"ann": ["the kettle?", "67 crowns", "and it?"], "bob": ["the lamp?"]}, own),
        Case((_SAVED, "bob", "12 crowns"), {"ann": ["the kettle?", "67 crowns"], "bob": ["the lamp?", "12 crowns"]}, own),
        Case(({}, "cid", "hello"), {"cid": ["hello"]}, new),
        Case((_SAVED, "cid", "hello"), {**_SAVED, "cid": ["hello"]}, f"{new} {others}"),
        Case(({}, "dan", "hello"), {"dan": ["hello"]}, f"{new} No other call is remembered."),
        Case((eve, "eve", "5"), {**eve, "eve": ["1", "2", "3", "4", "5"]}, f"{own} {others}"),
        Case((eve, "dan", "first"), {**eve, "dan": ["first"]}, own),
        Case((eve, "", "still none"), {**eve, "": ["no name", "still none"]}, own),
        Case((eve, "eve", "1"), {**eve, "eve": ["1", "2", "3", "4", "1"]}, "A message that was said before is said again."),
        Case(({"fay": long, "gus": [" a "]}, "gus", " b\n"), {"fay": long, "gus": [" a ", " b\n"]}, f"{others} A message is kept as it is."),
        Case(({"fay": long}, "fay", "x"), {"fay": [*long, "x"]}, f"{own} None is forgotten."),
        Case((eve, "eve", ""), {**eve, "eve": ["1", "2", "3", "4", ""]}, "An empty message is a message."),
    ]


_MISTAKES = (
    Wrong(_one_for_all, "The messages of all threads are in one conversation: threads must not mix."),
    Wrong(_forgets, "The earlier messages of the thread are gone. Without them 'and it?' means nothing."),
    Wrong(_only_this_thread, "The other threads are gone. Return the whole memory."),
    Wrong(_only_the_list, "You return the messages of the thread. The whole memory is asked for."),
    Wrong(_in_front, "You put the message in front. It stands at the end."),
    Wrong(_to_everyone, "You add the message to every thread. It belongs to one."),
    Wrong(_letters, "You add the letters of the message. The message is one entry of the list."),
    Wrong(_once_each, "A message that was said before is lost. It is said again."),
    Wrong(_no_empty_message, "An empty message is lost."),
    Wrong(_last_three, "You keep the last three messages. All are to be kept."),
    Wrong(_drops_empty_threads, "Threads without a message are gone. Every other thread is as before."),
    Wrong(_only_known, "A thread that nobody has spoken in begins with its first message; it is no error."),
)


def _check(answer) -> None:
    def watched(memory, thread, message):
        before = copy.deepcopy(memory)
        after = answer(memory, thread, message)
        if memory != before:
            call = f"remember({shown(before)}, {thread!r}, {message!r})"
            raise Mistake(f"`{call}` changed the memory that was given, into {shown(memory)}. A checkpoint must stay as it was saved.")
        return after

    watched.__name__ = "remember"
    check_cases(watched, _cases(), _MISTAKES)


EXERCISE = Exercise(
    id="chains.remember",
    notebook="05_langchain_applications",
    title="a memory whose threads do not mix",
    difficulty=2,
    minutes=15,
    statement=(
        "Write `remember(memory, thread, message)`. `memory` is a dictionary from a thread's name to its list of messages. Return the memory **after** the "
        "message: it stands at the end of its own thread (which may be new), every other thread is as before, and the memory that was given, its lists "
        'included, is unchanged. `remember({"ann": ["a"]}, "ann", "b")` is `{"ann": ["a", "b"]}`.'
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
        *_MISTAKES,
        Wrong(_in_place, "changed the memory that was given"),
        Wrong(_list_in_place, "changed the memory that was given", shares_hint=True),
        Wrong(_notes_the_thread, "changed the memory that was given"),
        Wrong(_shares_a_default, "begins with its first message"),
        Wrong(lambda memory, thread, message: remember(memory, thread, message.strip()), "A message is kept as it is."),
        Wrong(lambda memory, thread, message: {t: list(m)[-30:] for t, m in remember(memory, thread, message).items()}, "Every other thread"),
    ),
    right=(_all_copied, _by_or, _by_names, _default_dict, _by_try, _chain_map),
)
