/** The rules of a conversation in the most obvious way, for comparison with the server. */

export const PEOPLE = ['ann', 'bob', 'cat', 'dan'] as const;
export type Person = (typeof PEOPLE)[number];
/** The one member with the role BANK; the others are customers. */
const BANK: Person = 'ann';

type Status = 'OPEN' | 'PENDING' | 'RESOLVED' | 'CLOSED';

export interface Entry {
  readonly seq: number;
  readonly addedRev: number;
  readonly kind: 'TEXT' | 'SYSTEM';
  readonly sender: Person;
  /** The step of the history it was stored in. */
  readonly tick: number;
  rev: number;
  text: string;
  redacted: boolean;
  revisions: string[];
}

interface Membership {
  present: boolean;
  readSeq: number;
  muted: boolean;
  pinned: boolean;
  archived: boolean;
}

export interface Change {
  readonly status?: Status;
  readonly assignee?: Person | null;
  readonly addLabels?: readonly string[];
  readonly removeLabels?: readonly string[];
  readonly addMembers?: readonly Person[];
  readonly removeMembers?: readonly Person[];
}

export const emailOf = (person: Person) => `${person}@example.com`;

/** A conversation opened by the bank with the first member; its functions return the code of a refusal, or null. */
export function createModel(members: readonly Person[], text: string, tick: number) {
  const members_ = new Map<Person, Membership>();
  const fresh = (readSeq: number): Membership => ({
    ...{ present: true, readSeq, muted: false, pinned: false, archived: false },
  });
  for (const person of members) members_.set(person, fresh(0));
  const log: Entry[] = [];
  const model = {
    members: members_,
    log,
    status: 'OPEN' as Status,
    labels: [] as string[],
    assignee: null as Person | null,
    lastRev: 0,
    tick,

    present: (who: Person) => members_.get(who)?.present === true,
    unread: (who: Person) =>
      log.filter(
        ({ seq, sender, kind, redacted }) =>
          seq > (members_.get(who)?.readSeq ?? 0) && sender !== who && kind === 'TEXT' && !redacted,
      ),

    send(who: Person, text: string, tick: number): string | null {
      if (!model.present(who)) return 'NOT_FOUND';
      if (model.status === 'CLOSED') return 'CONVERSATION_CLOSED';
      if (model.status !== 'OPEN') {
        add('SYSTEM', who, `status: ${model.status} → OPEN`, tick);
        model.status = 'OPEN';
      }
      add('TEXT', who, text, tick);
      for (const one of members_.values()) if (!one.muted) one.archived = false;
      return null;
    },
    edit(who: Person, seq: number, text: string, expectedRev: number | null): string | null {
      const entry = log[seq - 1];
      if (!model.present(who) || !entry) return 'NOT_FOUND';
      if (entry.kind === 'SYSTEM' || entry.sender !== who) return 'FORBIDDEN';
      if (model.status === 'CLOSED') return 'CONVERSATION_CLOSED';
      if (entry.redacted) return 'CONFLICT';
      if (entry.text === text) return null;
      if (expectedRev !== null && expectedRev !== entry.rev) return 'CONFLICT';
      entry.revisions.push(entry.text);
      entry.text = text;
      entry.rev = ++model.lastRev;
      return null;
    },
    redact(who: Person, seq: number): string | null {
      const entry = log[seq - 1];
      if (!model.present(who) || !entry) return 'NOT_FOUND';
      if (entry.kind === 'SYSTEM' || (entry.sender !== who && who !== BANK)) return 'FORBIDDEN';
      if (entry.redacted) return null;
      Object.assign(entry, { text: '', revisions: [], redacted: true, rev: ++model.lastRev });
      return null;
    },
    read(who: Person, seq: number): string | null {
      const own = members_.get(who);
      if (!own?.present) return 'NOT_FOUND';
      own.readSeq = Math.max(own.readSeq, seq);
      return null;
    },
    view(who: Person, view: Pick<Membership, 'muted' | 'pinned' | 'archived'>): string | null {
      const own = members_.get(who);
      if (!own?.present) return 'NOT_FOUND';
      Object.assign(own, view);
      return null;
    },
    update(who: Person, change: Change, tick: number): string | null {
      if (!model.present(who)) return 'NOT_FOUND';
      const status = change.status ?? model.status;
      const closes = status !== model.status && [status, model.status].includes('CLOSED');
      if (closes && who !== BANK && model.present(BANK)) return 'FORBIDDEN';
      const leaving = (change.removeMembers ?? []).filter(model.present);
      if (who !== BANK && leaving.some((one) => one !== who)) return 'FORBIDDEN';
      const joining = (change.addMembers ?? []).filter((one) => !model.present(one));
      const labels = [
        ...new Set([...model.labels.filter((one) => !change.removeLabels?.includes(one)), ...(change.addLabels ?? [])]),
      ].sort();
      const stays = (one: Person) => joining.includes(one) || (model.present(one) && !leaving.includes(one));
      if (change.assignee && !stays(change.assignee)) return 'BAD_USER_INPUT';
      const kept = model.assignee && stays(model.assignee) ? model.assignee : null;
      const assignee = change.assignee === undefined ? kept : change.assignee;
      const list = (added: readonly string[], removed: readonly string[]) =>
        [...added.map((one) => `+${one}`), ...removed.map((one) => `−${one}`)].join(', ');
      const name = (one: Person | null) => (one ? emailOf(one) : 'nobody');
      const told = [
        status !== model.status && `status: ${model.status} → ${status}`,
        assignee !== model.assignee && `assignee: ${name(model.assignee)} → ${name(assignee)}`,
        ...[
          [
            'labels',
            list(
              labels.filter((one) => !model.labels.includes(one)).map((one) => JSON.stringify(one)),
              model.labels.filter((one) => !labels.includes(one)).map((one) => JSON.stringify(one)),
            ),
          ],
          ['members', list(joining.map(emailOf), leaving.map(emailOf))],
        ].map(([what, which]) => which !== '' && `${what}: ${which}`),
      ].filter((text) => text !== false);
      if (told.length === 0) return null;
      const same = status === model.status && labels.join() === model.labels.join();
      const onlyLeaves = same && joining.length === 0 && change.assignee === undefined;
      if (model.status === 'CLOSED' && status === 'CLOSED' && !onlyLeaves) return 'CONVERSATION_CLOSED';
      for (const one of leaving) (members_.get(one) as Membership).present = false;
      for (const one of joining) members_.set(one, fresh(log.length + 1));
      Object.assign(model, { status, labels, assignee });
      add('SYSTEM', who, told.join('; '), tick);
      return null;
    },
  };

  function add(kind: Entry['kind'], sender: Person, text: string, tick: number): void {
    const rev = ++model.lastRev;
    log.push({ seq: log.length + 1, rev, addedRev: rev, kind, sender, tick, text, redacted: false, revisions: [] });
    model.tick = tick;
  }
  add('TEXT', BANK, text, tick);
  return model;
}

export type Model = ReturnType<typeof createModel>;
