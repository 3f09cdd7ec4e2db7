import { type FormEvent, useState } from 'react';
import type { ConversationFieldsFragment, ConversationView, Viewer } from '../../client/index.ts';
import { AddressField, addressesIn } from '../shared/address-field.tsx';
import { tint } from '../shared/format.ts';
import { Person } from '../shared/names.tsx';
import { mayRemove } from './rights.ts';

interface MembersProps {
  readonly conversation: ConversationFieldsFragment;
  readonly viewer: Viewer;
  /** Whether members cannot be added now. */
  readonly readOnly: boolean;
  change(changes: Parameters<ConversationView['update']>[0]): Promise<boolean>;
}

/** The members of a conversation and their read positions. */
export function Members({ conversation, viewer, readOnly, change }: MembersProps) {
  /** Address of the member to remove, until the removal is confirmed. */
  const [removing, setRemoving] = useState<string | null>(null);
  const { members, lastSeq } = conversation;
  const present = members.filter(({ leftAt }) => leftAt === null);

  async function add(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = event.currentTarget;
    if (await change({ addMembers: addressesIn(form) })) form.reset();
  }

  return (
    <section aria-labelledby="members-title">
      <h3 id="members-title">Members</h3>
      <ul className="members">
        {present.map((member) => {
          const mine = member.email === viewer.email;
          const confirming = removing === member.email;
          const toRead = lastSeq - member.readSeq;
          return (
            <li key={member.email}>
              <span className={`avatar small tint-${tint(member.email)}`} aria-hidden="true">
                {member.email[0]?.toUpperCase()}
              </span>
              <span className="grow">
                <strong>
                  <Person email={member.email} />
                </strong>{' '}
                {member.role && <span className="state">{member.role.toLowerCase()}</span>}
                <span className="about">{mine ? 'you' : readStatus(toRead)}</span>
              </span>
              {mayRemove(viewer, member.email) && (
                <button
                  type="button"
                  className={confirming ? 'destructive' : 'danger'}
                  onBlur={() => setRemoving(null)}
                  onClick={() => {
                    setRemoving(confirming ? null : member.email);
                    if (confirming) void change({ removeMembers: [member.email] });
                  }}
                >
                  {confirming ? 'Really? ' : ''}
                  {mine ? 'Leave' : 'Remove'}
                  <span className="hidden"> {mine ? 'this conversation' : member.email}</span>
                </button>
              )}
            </li>
          );
        })}
      </ul>
      {!readOnly && (
        <form className="add" onSubmit={add}>
          <AddressField id="new-members" aria-label="New member" placeholder="cy@example.com" />
          <button type="submit">Add member</button>
        </form>
      )}
    </section>
  );
}

function readStatus(toRead: number): string {
  if (toRead <= 0) return 'has read everything';
  return toRead === 1 ? 'has one message to read' : `has ${toRead} messages to read`;
}
