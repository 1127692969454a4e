"""What a client of the native protocol may rely on, whatever library speaks for it.

A script gives `run` a class of its own: `Peer(url, exact)` opens a WebSocket, on which white space
may follow what is said unless it is exact; `say(text)` sends a text frame, `hear()` gives the next
one, `cut()` goes away without a word, `close()` with one.
"""

import json
import sys


class Person:
    """Somebody on a WebSocket; frames that come before an answer wait in `inbox`."""

    def __init__(self, peer):
        self.peer = peer
        self.inbox = []
        self.seq = 0
        self.hello = self.next()
        assert self.hello["type"] == "hello", self.hello

    def next(self):
        return json.loads(self.peer.hear())

    def hear(self):
        """The next frame that is no presence."""
        while True:
            frame = self.inbox.pop(0) if self.inbox else self.next()
            if frame["type"] not in ("joined", "left"):
                return frame

    def hear_message(self):
        frame = self.hear()
        assert frame["type"] == "msg", frame
        return frame

    def ask(self, type_, **fields):
        self.seq += 1
        self.peer.say(json.dumps({"type": type_, "seq": self.seq, **fields}))
        return self.answer(self.seq)

    def answer(self, seq):
        while True:
            frame = self.next()
            if "seq" in frame and frame["seq"] == seq:
                return frame
            self.inbox.append(frame)

    def ok(self, type_, **fields):
        answer = self.ask(type_, **fields)
        assert answer["type"] == "ok", answer
        return answer


class Claims:
    def __init__(self, peer_class, url):
        self.peer_class = peer_class
        self.url = url

    def open(self, query="", exact=False):
        return Person(self.peer_class(self.url + query, exact))

    def login(self, uid, *rooms):
        person = self.open()
        person.ok("login", uid=uid, rooms=list(rooms))
        return person

    def login_by_command(self):
        person = self.open()
        assert isinstance(person.hello["fd"], int) and person.hello["max"] == 65_536
        ok = person.ok("login", uid=7, rooms=["login"])
        assert set(ok["channels"]) == {"@7", "*", "login"}, ok
        login = ok["channels"]["login"]
        assert set(login) == {"epoch", "offset", "recovered", "members"}, login
        assert (login["offset"], login["members"]) == (0, 1), login

    def login_by_query(self):
        person = self.open("?uid=ann%20b&room=tea&room=t%C3%A4")
        ok = person.next()
        assert ok["type"] == "ok" and ok["seq"] is None, ok
        assert set(ok["channels"]) == {"@ann b", "*", "tea", "tä"}, ok

    def arrays(self):
        person = self.login("ann", "arrays")
        commands = [{"type": "who", "seq": seq, "room": "arrays"} for seq in (7, 5, 9)]
        person.peer.say(json.dumps(commands))
        heard = [person.hear()["seq"] for _ in commands]
        assert heard == [7, 5, 9], heard

    def said_in_a_room(self):
        ann, bob = self.login("ann", "said"), self.login("bob", "said")
        data = {"text": "grüße 🦀", "n": [1, None, True], "s": "\\\"\n"}
        ok = ann.ok("say", to={"room": "said"}, data=data)
        assert (ok["channel"], ok["offset"], ok["receivers"]) == ("said", 1, 2), ok
        assert ok["duplicate"] is False
        for person in (ann, bob):
            heard = person.hear_message()
            assert heard["data"] == data and heard["from"] == "ann", heard
            for key in ("channel", "epoch", "offset", "id"):
                assert heard[key] == ok[key], (heard, ok)

    def said_in_private(self):
        ann, phone, bob = self.login("pan"), self.login("pan"), self.login("pob")
        ok = ann.ok("say", to={"user": "pob"}, data="psst")
        assert ok["channel"] == "@pob", ok
        heard = {channel: person.hear_message() for channel, person in
                 (("@pan", ann), ("@pan 2", phone), ("@pob", bob))}
        for channel, message in heard.items():
            assert message["channel"] == channel.split()[0], message
            assert (message["id"], message["from"], message["to"]) == (ok["id"], "pan", "pob")

    def ping_is_answered_with_pong(self):
        person = self.open(exact=True)
        person.peer.say("PING")
        assert person.peer.hear() == "PONG"

    def what_was_missed_comes_first(self):
        ann, bob = self.login("ann", "missed"), self.login("bob", "missed")
        ann.ok("say", to={"room": "missed"}, data=1)
        last = bob.hear_message()
        bob.peer.cut()
        for data in (2, 3):
            ann.ok("say", to={"room": "missed"}, data=data)
        bob = self.open()
        bob.ok("login", uid="bob")
        resume = {"epoch": last["epoch"], "offset": last["offset"]}
        ok = bob.ok("join", room="missed", resume=resume)["channels"]["missed"]
        assert ok["recovered"] is True and ok["offset"] == 3, ok
        ann.ok("say", to={"room": "missed"}, data=4)
        assert [bob.hear_message()["data"] for _ in range(3)] == [2, 3, 4]
        ok = self.login("cid").ok("join", room="missed", resume={"epoch": "other", "offset": 1})
        assert ok["channels"]["missed"]["recovered"] is False, ok

    def history_in_pages(self):
        ann = self.login("ann", "history")
        for data in range(5):
            ann.ok("say", to={"room": "history"}, data=data)
        page = ann.ok("history", channel="history", after=1, limit=2)
        assert [message["offset"] for message in page["messages"]] == [2, 3], page
        assert page["more"] is True and page["offset"] == 5, page
        page = ann.ok("history", channel="history", before=3)
        assert [message["data"] for message in page["messages"]] == [1, 0], page
        assert page["more"] is False, page

    def who_and_online(self):
        ann, bob = self.login("wann", "who"), self.login("wbob", "who")
        who = ann.ok("who", room="who")
        assert (who["users"], who["connections"]) == (["wann", "wbob"], 2), who
        online = ann.ok("online", users=["wbob", "nobody"])["online"]
        assert online == {"wbob": True, "nobody": False}, online
        assert ann.inbox == [{"type": "joined", "room": "who", "uid": "wbob"}], ann.inbox
        bob.ok("leave", room="who")
        assert ann.next() == {"type": "left", "room": "who", "uid": "wbob"}
        bob.peer.close()

    def resume_after_an_ack(self):
        ann = self.login("acker", "acked")
        for data in (1, 2, 3):
            ann.ok("say", to={"room": "acked"}, data=data)
        ann.ok("ack", channel="acked", offset=2)
        ann.ok("ack", channel="acked", offset=1)
        ann.peer.cut()
        ann = self.open()
        ok = ann.ok("login", uid="acker", rooms=["acked"], resume={"acked": "acked"})
        assert ok["channels"]["acked"]["recovered"] is True, ok
        assert ann.hear_message()["offset"] == 3

    def err_without_a_number(self):
        person = self.login("ann")
        for text in ("{", '{"type":"leave","room":"nowhere"}'):
            person.peer.say(text)
            err = person.hear()
            assert err["type"] == "err" and err["seq"] is None, err
            assert err["code"] in ("bad_request", "not_member") and err["message"], err
        person.peer.say('{"type":"join","room":"silent"}')
        assert person.ok("who", room="silent")["users"] == ["ann"]
        assert not person.inbox, f"a command without a number was answered: {person.inbox}"

    def a_repeat_is_a_duplicate(self):
        ann, bob = self.login("ann", "repeat"), self.login("bob", "repeat")
        first = ann.ok("say", to={"room": "repeat"}, data=1, id="one")
        again = ann.ok("say", to={"room": "repeat"}, data=1, id="one")
        assert again["duplicate"] is True and again["offset"] == first["offset"], again
        ann.ok("say", to={"room": "repeat"}, data=2)
        assert [bob.hear_message()["data"] for _ in range(2)] == [1, 2]


def run(peer_class):
    claims = Claims(peer_class, sys.argv[1])
    all_ = [name for name, value in vars(Claims).items()
            if callable(value) and name not in ("__init__", "open", "login")]
    failed = 0
    for name in all_:
        try:
            getattr(claims, name)()
            print(name)
        except Exception as error:  # The others are tried, too.
            failed += 1
            print(f"{name} does not hold: {error!r}")
    print(f"{len(all_) - failed} claims hold")
    sys.exit(failed > 0)
