#!/usr/bin/env python3
"""Checks an export of Kredichat's record, offline, as docs/RECORD.md says: a second program beside `kredichat verify`.

    python3 verify.py DIR [--key VKEY ...]

Needs Python 3.8 and its standard library alone. Prints one line; exit code 0: verified, 1: broken, 2: incomplete.
"""

import argparse
import base64
import hashlib
import json
import os
import re
import stat
import sys

MAX_LINE = 1 << 20
MAX_NUMBER = 10**15 - 1
NAMES = ["text", "opening", "reply", "client", "changes", "reason", "source"]

N, P = r"(?:0|[1-9][0-9]{0,14})", r"[1-9][0-9]{0,14}"
ID, HEX, ADDRESS = r"c_[A-Za-z0-9_-]{43}", r"[0-9a-f]{64}", r'[!#-\[\]-~]+'
VALUE = r'\["(?:%s)","%s"\]' % ("|".join(NAMES), HEX)
READ = r'\["%s",%s\]' % (ADDRESS, N)
TYPES = "ADDED|EDITED|REDACTED|ERASED|IMPORTED"
ENTRY = re.compile(
    r'\[1,"%s",%s,"(?:%s)",%s,%s,"(?:%s)?",\[(?:%s(?:,%s)*)?\]\]' % (ID, P, TYPES, N, N, ADDRESS, VALUE, VALUE)
)
LEAF = re.compile(r'\[1,"[A-Z]",.*\]', re.DOTALL)
H_LEAF = re.compile(r'\[1,"H","(%s)",(%s),"(%s)"\]' % (ID, P, HEX))
R_LEAF = re.compile(r'\[1,"R","%s",%s,\[%s(?:,%s)*\]\]' % (ID, N, READ, READ))
MESSAGE_ADDRESS = re.compile(ADDRESS)
BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")


class Broken(Exception):
    """The first fault: where, and what."""

    def __init__(self, place, what):
        super().__init__("%s: %s" % (place, what))


def fail_unless(condition, place, what):
    if not condition:
        raise Broken(place, what)


def sha256(data):
    return hashlib.sha256(data).digest()


def canonical(value):
    """JSON without spaces; keys stand in the order of the value."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def is_number(value, least=0):
    return type(value) is int and least <= value <= MAX_NUMBER


def unbase64(text, length=None):
    """The bytes; None where the text is not base64 in its one spelling, or has another length."""
    if not isinstance(text, str) or not BASE64.fullmatch(text):
        return None
    data = base64.b64decode(text)
    is_spelt_so = base64.b64encode(data).decode() == text
    return data if is_spelt_so and length in (None, len(data)) else None


# Trees (RFC 6962)


def leaf_hash(text):
    return sha256(b"\0" + text.encode())


def node_hash(left, right):
    return sha256(b"\1" + left + right)


class Tree:
    """A tree made leaf by leaf: keeps the roots of its full subtrees."""

    def __init__(self):
        self.size, self.roots = 0, []

    def add(self, leaf):
        n = self.size
        while n % 2:
            leaf = node_hash(self.roots.pop(), leaf)
            n //= 2
        self.roots.append(leaf)
        self.size += 1

    def root(self):
        if not self.roots:
            return sha256(b"")
        root = self.roots[-1]
        for left in reversed(self.roots[:-1]):
            root = node_hash(left, root)
        return root


def is_included(leaf, index, size, path, root):
    if index >= size:
        return False
    f, s = index, size - 1
    for p in path:
        if s == 0:
            return False
        if f % 2 or f == s:
            leaf = node_hash(p, leaf)
            while f % 2 == 0 and f != 0:
                f, s = f // 2, s // 2
        else:
            leaf = node_hash(leaf, p)
        f, s = f // 2, s // 2
    return s == 0 and leaf == root


# Ed25519 (RFC 8032, section 5.1), verification alone: public data, so time may depend on it

Q = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, Q - 2, Q) % Q
ROOT_OF_MINUS_1 = pow(2, (Q - 1) // 4, Q)


def point_add(a, b):
    x = (a[1] - a[0]) * (b[1] - b[0]) % Q
    y = (a[1] + a[0]) * (b[1] + b[0]) % Q
    t, z = 2 * a[3] * b[3] * D % Q, 2 * a[2] * b[2] % Q
    e, f, g, h = y - x, z - t, z + t, y + x
    return e * f % Q, g * h % Q, f * g % Q, e * h % Q


def point_multiply(n, point):
    result = (0, 1, 1, 0)
    while n:
        if n & 1:
            result = point_add(result, point)
        point = point_add(point, point)
        n >>= 1
    return result


def point_of(data):
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & ((1 << 255) - 1)
    if y >= Q:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, Q - 2, Q) % Q
    x = pow(square, (Q + 3) // 8, Q)
    if (x * x - square) % Q:
        x = x * ROOT_OF_MINUS_1 % Q
    if (x * x - square) % Q or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = Q - x
    return x, y, 1, x * y % Q


BASE = point_of((4 * pow(5, Q - 2, Q) % Q).to_bytes(32, "little"))


def is_signed(public_key, message, signature):
    a, r = point_of(public_key), point_of(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if len(signature) != 64 or a is None or r is None or s >= ORDER:
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + public_key + message).digest(), "little") % ORDER
    left, right = point_multiply(s, BASE), point_add(r, point_multiply(k, a))
    return (left[0] * right[2] - right[0] * left[2]) % Q == 0 and (left[1] * right[2] - right[1] * left[2]) % Q == 0


# Signed notes


def parse_vkey(vkey, place):
    """(name, key id, public key) of a verifier key; a name has no `+`, base64 may."""
    name, _, rest = vkey.partition("+")
    key_id, _, encoded = rest.partition("+")
    data = unbase64(encoded, 33)
    is_named = name != "" and not re.search(r"\s", name)
    fail_unless(is_named and data and data[0] == 1, place, "not a verifier key: " + vkey)
    expected = sha256(name.encode() + b"\n" + data)[:4]
    fail_unless(key_id == expected.hex(), place, "the key id is not that of the key: " + vkey)
    return name, expected, data[1:]


def open_checkpoint(data, keys, place):
    """(size, root) of a checkpoint that is signed by one of the keys, and by none of them wrongly."""
    fail_unless(
        re.search(rb"[\0-\x09\x0b-\x1f]", data) is None and data.endswith(b"\n") and b"\n\n" in data, place, "no note"
    )
    text, _, signatures = data.rpartition(b"\n\n")
    text += b"\n"
    lines = text.decode().split("\n")[:-1]
    fail_unless(len(lines) >= 3 and "" not in lines, place, "not a checkpoint")
    origin, size, root = lines[:3]
    root = unbase64(root, 32)
    fail_unless(re.fullmatch(N, size) and root is not None, place, "not a checkpoint")
    signed = False
    for line in signatures.decode().split("\n")[:-1]:
        match = re.fullmatch("\u2014 ([^\\s+]+) (\\S+)", line)
        signature = match and unbase64(match.group(2))
        fail_unless(signature and len(signature) > 4, place, "not a signature line")
        for name, key_id, public_key in keys:
            if (name, key_id) == (match.group(1), signature[:4]):
                fail_unless(is_signed(public_key, text, signature[4:]), place, "the signature is wrong")
                signed = signed or name == origin
    fail_unless(signed, place, "no signature by the key")
    return int(size), root


# Files


class Lines:
    """The lines of a file, one ahead."""

    def __init__(self, folder, name):
        self.name = name
        self.file = open(os.path.join(folder, name), "rb")
        self.has_peeked, self.peeked = False, None

    def read(self):
        """The next line as text; None at the end."""
        line = self.file.readline(MAX_LINE)
        if line == b"":
            return None
        fail_unless(line.endswith(b"\n"), self.name, "a line is too long, or has no end")
        return line[:-1].decode()

    def peek(self):
        """The next item, which stays the next; None at the end."""
        if not self.has_peeked:
            line = self.read()
            self.has_peeked, self.peeked = True, None if line is None else self.parse(line)
        return self.peeked

    def take(self):
        item = self.peek()
        self.has_peeked = False
        return item

    def parse(self, line):
        return line

    def json(self, line, keys):
        """The object that a line spells, which has these keys in this order."""
        value = json.loads(line)
        fail_unless(isinstance(value, dict) and list(value) == keys, self.name, "not of its form: " + line[:200])
        fail_unless(canonical(value) == line, self.name, "not spelt as canonical JSON: " + line[:200])
        return value


class Entries(Lines):
    def parse(self, line):
        fail_unless(ENTRY.fullmatch(line), self.name, "not an entry: " + line[:200])
        return line, json.loads(line)


class Disclosures(Lines):
    def parse(self, line):
        item = self.json(line, ["conversationId", "rev", "name", "salt", "value"])
        item["value"].encode() if isinstance(item["value"], str) else None
        is_placed = is_id(item["conversationId"]) and is_number(item["rev"], 1) and item["name"] in NAMES
        is_valued = isinstance(item["salt"], str) and isinstance(item["value"], str)
        fail_unless(is_placed and is_valued, self.name, "not a disclosure: " + line[:200])
        return item


class Reads(Lines):
    def parse(self, line):
        item = self.json(line, ["index", "leaf", "path"])
        item["hashes"] = hashes_of(item["path"])
        is_read = is_number(item["index"]) and isinstance(item["leaf"], str) and R_LEAF.fullmatch(item["leaf"])
        fail_unless(is_read and item["hashes"] is not None, self.name, "not a read position: " + line[:200])
        item["read"] = json.loads(item["leaf"])
        return item


def is_id(value):
    return isinstance(value, str) and re.fullmatch(ID, value) is not None


def hashes_of(path):
    """The hashes of a path in base64; None where it is none."""
    if not isinstance(path, list):
        return None
    hashes = [unbase64(text, 32) for text in path]
    return None if None in hashes else hashes


# The steps


class Verifier:
    def __init__(self, folder, keys):
        self.folder, self.vkeys = folder, keys
        self.counts = dict.fromkeys(["conversations", "messages", "entries", "disclosures", "reads", "unsigned"], 0)
        self.h_leaves, self.r_leaves = {}, 0
        self.erased = self.withheld = 0

    def path(self, name):
        return os.path.join(self.folder, name)

    def has(self, name):
        return name in self.files

    def bytes_of(self, name):
        with open(self.path(name), "rb") as file:
            return file.read()

    def verify(self):
        """The result and its line."""
        try:
            self.check("manifest.json", self.check_manifest)
            self.check("checkpoint.txt", self.check_checkpoint)
            self.check("register.ndjson", self.check_register)
            self.check_conversations()
            self.check_rest()
        except Broken as fault:
            return "broken", "broken: %s" % fault
        counts = "%(conversations)d conversations, %(entries)d entries, %(disclosures)d disclosures" % self.counts
        counts += ", %d read positions" % self.counts["reads"]
        missing = []
        if self.counts["unsigned"]:
            missing.append("%d entries are not covered by a checkpoint" % self.counts["unsigned"])
        if self.withheld:
            missing.append("%d values are withheld" % self.withheld)
        result = "incomplete" if missing else "verified"
        return result, "%s: %s" % (result, "; ".join(missing + [counts]))

    def check(self, place, step, *args):
        """Runs a step; whatever cannot be read is a fault at its place."""
        try:
            return step(*args)
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise Broken(place, "cannot be read: %s" % error)

    # Step 1

    def check_manifest(self):
        place = "manifest.json"
        self.files = {}
        self.manifest = manifest = json.loads(self.bytes_of(place).decode())
        fail_unless(isinstance(manifest, dict) and manifest.get("format") == "export 1", place, "not of format export 1")
        fail_unless(all(is_number(manifest.get(count)) for count in self.counts), place, "a count is missing")
        self.scope = scope = manifest["scope"]
        kind, value = scope["kind"], scope["value"]
        is_scope = kind == "all" and value is None or kind in ("conversation", "config") and isinstance(value, str)
        fail_unless(is_scope, place, "no scope")
        self.is_all = kind == "all"
        for item in manifest["erased"]:
            is_item = len(item) == 4 and is_id(item[0]) and is_number(item[1], 1) and item[2] in NAMES
            fail_unless(is_item and is_number(item[3], 1), place, "`erased` has a wrong item")
        for item in manifest["withheld"]:
            is_item = len(item) == 3 and is_id(item[0]) and is_number(item[1], 1) and item[2] in NAMES
            fail_unless(is_item, place, "`withheld` has a wrong item")
        self.withheld_items = set(map(tuple, manifest["withheld"]))
        fail_unless(len(self.withheld_items) == len(manifest["withheld"]), place, "`withheld` has an item twice")
        for file in manifest["files"]:
            name, sum_ = file["name"], file["sha256"]
            is_name = isinstance(name, str) and re.fullmatch(r"(?:proofs/)?[A-Za-z0-9_-][A-Za-z0-9._-]*", name)
            fail_unless(is_name and name != place, place, "a file has a wrong name")
            fail_unless(is_number(file["bytes"]) and isinstance(sum_, str), place, "a file has no length or sum")
            fail_unless(name not in self.files, name, "listed twice")
            self.files[name] = file
        for name, file in self.files.items():
            self.check(name, self.check_sum, name, file)
        for name in sorted(self.names()):
            fail_unless(name in self.files or name == place, name, "not in the manifest")
        needed = ["entries.ndjson", "disclosures.ndjson", "reads.ndjson"] + ["register.ndjson"] * self.is_all
        for name in needed:
            fail_unless(self.has(name), place, "there is no " + name)

    def check_sum(self, name, file):
        fail_unless(stat.S_ISREG(os.lstat(self.path(name)).st_mode), name, "not a plain file")
        hash_, length = hashlib.sha256(), 0
        with open(self.path(name), "rb") as data:
            for part in iter(lambda: data.read(1 << 16), b""):
                hash_.update(part)
                length += len(part)
        fail_unless(length == file["bytes"] and hash_.hexdigest() == file["sha256"], name, "not as the manifest says")

    def names(self):
        """Everything in the folder; files of `proofs` with its name."""
        for item in os.scandir(self.folder):
            if item.name == "proofs" and item.is_dir(follow_symlinks=False):
                for proof in os.listdir(item.path):
                    yield "proofs/" + proof
            else:
                yield item.name

    # Step 2

    def check_checkpoint(self):
        self.checkpoint = None
        if not self.has("checkpoint.txt"):
            return
        self.checkpoint = self.bytes_of("checkpoint.txt")
        if self.vkeys:
            keys = self.vkeys
        else:
            keys = self.check("keys.txt", self.own_keys)
        self.size, self.root = open_checkpoint(self.checkpoint, keys, "checkpoint.txt")

    def own_keys(self):
        fail_unless(self.has("keys.txt"), "keys.txt", "missing")
        text = self.bytes_of("keys.txt").decode()
        fail_unless(text.endswith("\n"), "keys.txt", "no keys")
        return [parse_vkey(line, "keys.txt") for line in text.split("\n")[:-1]]

    # Step 3

    def check_register(self):
        place = "register.ndjson"
        if not self.is_all:
            return
        lines, tree = Lines(self.folder, place), Tree()
        for line in iter(lines.read, None):
            fail_unless(LEAF.fullmatch(line), place, "not a leaf: " + line[:200])
            if line.startswith('[1,"H",'):
                match = H_LEAF.fullmatch(line)
                fail_unless(match, place, "not a leaf: " + line[:200])
                known = self.h_leaves.setdefault(match.group(1), [])
                leaf = (int(match.group(2)), bytes.fromhex(match.group(3)), tree.size)
                fail_unless(not known or known[-1][0] < leaf[0], place, "a ledger does not grow: " + line)
                known.append(leaf)
            elif line.startswith('[1,"R",'):
                fail_unless(R_LEAF.fullmatch(line), place, "not a leaf: " + line[:200])
                self.r_leaves += 1
            tree.add(leaf_hash(line))
        size, root = (self.size, self.root) if self.checkpoint else (0, sha256(b""))
        fail_unless(tree.size == size and tree.root() == root, place, "not the leaves of the checkpoint")

    # Step 4

    def check_conversations(self):
        self.entries = Entries(self.folder, "entries.ndjson")
        self.disclosures = Disclosures(self.folder, "disclosures.ndjson")
        self.reads = Reads(self.folder, "reads.ndjson")
        self.with_leaves, last = set(), ""
        while self.next_of(self.entries) is not None:
            id_ = self.next_of(self.entries)[1][1]
            fail_unless(id_ > last, id_, "conversations are not in order")
            self.check_conversation(id_)
            self.counts["conversations"] += 1
            last = id_

    def next_of(self, lines):
        return self.check(lines.name, lines.peek)

    def check_conversation(self, id_):
        leaf = self.check(id_, self.proof_of, id_)
        leaves = [(rev, root) for rev, root, _ in self.h_leaves.get(id_, [])] if self.is_all else [leaf] * bool(leaf)
        signed = leaf[0] if leaf else 0
        tree, waiting = Tree(), list(reversed(leaves))
        self.messages, self.redacted, self.only_imported = 0, {}, True
        missing = []
        while True:
            item = self.next_of(self.entries)
            if item is None or item[1][1] != id_:
                break
            line, entry = self.entries.take()
            _, _, rev, type_, seq, at, by, values = entry
            place = "%s rev %d" % (id_, rev) + (" message %d" % seq if seq else "")
            fail_unless(rev == tree.size + 1, place, "rev %d is next" % (tree.size + 1))
            self.check_rules(place, entry)
            for name, commitment in values:
                if not self.is_disclosed(place, entry, name, commitment):
                    missing.append((rev, seq, name))
            extra = self.next_of(self.disclosures)
            if extra and (extra["conversationId"], extra["rev"]) <= (id_, rev):
                raise Broken("%(conversationId)s rev %(rev)d" % extra, "a disclosure of what the entry does not have")
            tree.add(leaf_hash(line))
            self.counts["entries"] += 1
            if rev > signed:
                self.counts["unsigned"] += 1
            if waiting and waiting[-1][0] == rev:
                fail_unless(waiting.pop()[1] == tree.root(), "%s rev %d" % (id_, rev), "not the ledger of the leaf")
        fail_unless(not waiting, id_, "entries are missing at the end")
        self.counts["messages"] += self.messages
        for rev, seq, name in missing:
            self.check_missing(id_, rev, seq, name)
        self.check_reads(id_)

    def proof_of(self, id_):
        """(number of entries, root) of the newest H leaf; None without one."""
        name = "proofs/%s.tlog-proof" % id_
        known = self.h_leaves.get(id_)
        if not self.has(name):
            fail_unless(not known, id_, "there is no proof")
            return None
        text, _, checkpoint = self.bytes_of(name).partition(b"\n\n")
        lines = text.decode().split("\n")
        fail_unless(len(lines) >= 3 and lines[0] == "c2sp.org/tlog-proof@v1", id_, "not a proof")
        extra = unbase64(lines[1][6:]) if lines[1].startswith("extra ") else None
        is_index = re.fullmatch("index " + N, lines[2])
        path = hashes_of(lines[3:])
        fail_unless(extra is not None and is_index and path is not None, id_, "not a proof")
        leaf, index = json.loads(extra.decode())["leaf"], int(lines[2][6:])
        fail_unless(self.checkpoint and checkpoint == self.checkpoint, id_, "the proof has another checkpoint")
        match = H_LEAF.fullmatch(leaf)
        fail_unless(match and match.group(1) == id_, id_, "the proof is not of this conversation")
        is_in = is_included(leaf_hash(leaf), index, self.size, path, self.root)
        fail_unless(is_in, id_, "the leaf is not in the register")
        if self.is_all:
            fail_unless(known and known[-1][2] == index, id_, "the leaf is not the newest")
        self.with_leaves.add(id_)
        return int(match.group(2)), bytes.fromhex(match.group(3))

    def check_rules(self, place, entry):
        """What an entry may be after those before it."""
        _, _, rev, type_, seq, at, by, values = entry
        names = [name for name, _ in values]
        order = [NAMES.index(name) for name in names]
        fail_unless(all(a < b for a, b in zip(order, order[1:])), place, "names are not in order")
        fail_unless(rev > 1 or seq == 1, place, "the first entry adds no message")
        fail_unless(by != "" or type_ == "IMPORTED", place, "an entry without its author")
        is_added = seq == self.messages + 1
        is_known = 1 <= seq <= self.messages
        has_opening = ("opening" in names) == (rev == 1)
        if type_ == "ADDED":
            is_allowed = is_added and has_opening and names[:1] == ["text"] and not {"reason", "source"} & set(names)
        elif type_ == "EDITED":
            is_allowed = is_known and seq not in self.redacted and names == ["text"]
        elif type_ == "REDACTED":
            is_allowed = is_known and seq not in self.redacted and names == ["reason"]
        elif type_ == "ERASED":
            is_allowed = is_known and names in ([], ["reason"])
        elif seq == 0:
            is_allowed = (at, by, names) == (0, "", [])
        elif is_added:
            is_allowed = has_opening and "reason" not in names
        else:
            is_allowed = is_known and seq not in self.redacted and names in ([], ["text"], ["reason"])
        fail_unless(is_allowed, place, "an entry that cannot stand here")
        if type_ == "IMPORTED":
            fail_unless(self.only_imported or (is_added and "source" in names), place, "imported after the begin")
        else:
            self.only_imported = False
        if is_added:
            self.messages += 1
        elif type_ in ("REDACTED", "ERASED") or (type_ == "IMPORTED" and seq and names != ["text"]):
            self.redacted.setdefault(seq, rev)

    def is_disclosed(self, place, entry, name, commitment):
        _, id_, rev, _, seq = entry[:5]
        item = self.next_of(self.disclosures)
        if item is None or (item["conversationId"], item["rev"], item["name"]) != (id_, rev, name):
            return False
        self.disclosures.take()
        self.counts["disclosures"] += 1
        salt, value = unbase64(item["salt"], 16), item["value"]
        fail_unless(salt is not None, place, "a salt of 16 bytes is needed")
        expected = sha256(b"kredichat/1\0" + salt + value.encode()).hex()
        fail_unless(expected == commitment, place, "the %s is not the one committed to" % name)
        if name == "reply":
            fail_unless(re.fullmatch(P, value) and int(value) < seq, place, "a reply to no earlier message")
        if name == "opening":
            self.check(place, self.check_opening, place, id_, value)
        return True

    def check_opening(self, place, id_, value):
        opening = json.loads(value)
        keys = ["configId", "members", "party", "subject"]
        fail_unless(isinstance(opening, dict) and list(opening) == keys and canonical(opening) == value, place, "opening")
        config, members = opening["configId"], opening["members"]
        is_text = isinstance(config, str) and all(
            opening[key] is None or isinstance(opening[key], str) for key in ["party", "subject"]
        )
        are_members = isinstance(members, list) and all(
            isinstance(member, str) and MESSAGE_ADDRESS.fullmatch(member) for member in members
        )
        fail_unless(is_text and are_members and sorted(set(members)) == members, place, "not an opening")
        key = sha256(canonical([config] + members).encode())
        expected = "c_" + base64.urlsafe_b64encode(key).decode().rstrip("=")
        fail_unless(expected == id_, place, "the opening is not that of the conversation")
        if self.scope["kind"] == "config":
            fail_unless(config == self.scope["value"], place, "the conversation is not of the scope")

    def check_missing(self, id_, rev, seq, name):
        place = "%s rev %d" % (id_, rev) + (" message %d" % seq if seq else "")
        if (id_, rev, name) in self.withheld_items:
            self.withheld += 1
            return
        declaring = self.redacted.get(seq, 0)
        fail_unless(name == "text" and declaring > rev, place, "the %s is missing, and no entry declares it" % name)
        listed = self.manifest["erased"]
        is_listed = self.erased < len(listed) and listed[self.erased] == [id_, rev, name, declaring]
        fail_unless(is_listed, "manifest.json", "`erased` does not list %s" % place)
        self.erased += 1

    def check_reads(self, id_):
        last, positions = -1, {}
        while self.next_of(self.reads) is not None:
            item = self.next_of(self.reads)
            _, _, conversation, _, reads = item["read"]
            fail_unless(conversation >= id_, "reads.ndjson", "a position of a conversation that is not there")
            if conversation > id_:
                break
            self.reads.take()
            fail_unless(item["index"] > last, id_, "read positions are not in order")
            last = item["index"]
            leaf = leaf_hash(item["leaf"])
            is_in = self.checkpoint and is_included(leaf, last, self.size, item["hashes"], self.root)
            fail_unless(is_in, id_, "read positions that are not in the register")
            members = [member for member, _ in reads]
            fail_unless(sorted(set(members)) == members, id_, "members of a read position are not in order")
            for member, seq in reads:
                fail_unless(positions.get(member, 0) <= seq <= self.messages, id_, "a wrong read position: " + member)
                positions[member] = seq
            self.counts["reads"] += 1

    # Step 5

    def check_rest(self):
        item = self.next_of(self.disclosures)
        if item is not None:
            raise Broken("%(conversationId)s rev %(rev)d" % item, "a disclosure without its entry")
        fail_unless(self.next_of(self.reads) is None, "reads.ndjson", "a position of a conversation that is not there")
        if self.is_all:
            fail_unless(self.with_leaves >= set(self.h_leaves), "register.ndjson", "a conversation is missing")
            fail_unless(self.counts["reads"] == self.r_leaves, "reads.ndjson", "not all read positions")
        for name in sorted(self.files):
            if name.startswith("proofs/"):
                is_used = name[7:-11] in self.with_leaves and name.endswith(".tlog-proof")
                fail_unless(is_used, name, "a proof of a conversation that is not there")
        place = "manifest.json"
        fail_unless(self.erased == len(self.manifest["erased"]), place, "`erased` lists more than is missing")
        fail_unless(self.withheld == len(self.withheld_items), place, "`withheld` lists more than is missing")
        for count, found in self.counts.items():
            fail_unless(self.manifest[count] == found, place, "%d %s were found" % (found, count))
        if self.scope["kind"] == "conversation":
            is_one = self.counts["conversations"] == 1 and self.only_id() == self.scope["value"]
            fail_unless(is_one, place, "the scope is another conversation")

    def only_id(self):
        lines = Entries(self.folder, "entries.ndjson")
        return lines.take()[1][1]


def verify(folder, keys=()):
    """("verified" | "incomplete" | "broken", the line to print). Raises Broken for a key that is none."""
    return Verifier(folder, [parse_vkey(key, "--key") for key in keys]).verify()


def main():
    parser = argparse.ArgumentParser(description="Checks an export of Kredichat's record.")
    parser.add_argument("folder", metavar="DIR")
    parser.add_argument("--key", metavar="VKEY", action="append", default=[], help="verifier key that you trust")
    options = parser.parse_args()
    try:
        result, line = verify(options.folder, options.key)
    except Broken as error:
        sys.exit(str(error))
    if not options.key and result != "broken":
        line += " (by the key in the export itself: no proof against its maker)"
    print(line)
    sys.exit({"verified": 0, "broken": 1, "incomplete": 2}[result])


if __name__ == "__main__":
    main()
