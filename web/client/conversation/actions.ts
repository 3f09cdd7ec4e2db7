import type { Connection } from '../connection/connection.ts';
import { KredichatError } from '../errors.ts';
import {
  type ConversationFieldsFragment as Conversation,
  EditMessageDocument,
  type MessageFieldsFragment as Message,
  ProofDocument,
  RedactMessageDocument,
  RevisionsDocument,
  UpdateConversationDocument,
  type UpdateConversationInput,
  UpdateViewDocument,
  type UpdateViewInput,
} from '../generated/operations.ts';

/** An earlier text of a message. */
export interface Revision {
  readonly text: string;
  readonly editor: string;
  readonly at: string;
}

/**
 * Actions on a conversation and its messages. Each is sent once and rejects with a `KredichatError`. After
 * `DISCONNECTED` the view shows the outcome; every action may be repeated.
 */
export interface ConversationActions {
  /**
   * Replaces the text of the viewer's own message. `message` is the state that the viewer saw: if the message has
   * changed since, the edit fails with `CONFLICT` and overwrites nothing.
   */
  edit(message: Pick<Message, 'seq' | 'rev'>, text: string): Promise<void>;
  /** Deletes all texts of a message permanently, for all members. */
  redact(seq: number, reason: string): Promise<void>;
  /** Changes status, assignee, labels or members, for all members. */
  update(changes: Omit<UpdateConversationInput, 'conversationId'>): Promise<void>;
  /** Mutes, pins or archives the conversation, for the viewer only. */
  view(switches: Omit<UpdateViewInput, 'conversationId'>): Promise<void>;
  /** The earlier texts of a message, oldest first; empty once redacted. */
  revisions(message: Pick<Message, 'id'>): Promise<readonly Revision[]>;
  /**
   * The proof of the newest change of a message (C2SP `tlog-proof`); null for some seconds after the change, and where
   * the server signs nothing. `NOT_FOUND` without such a message, or for a viewer that is no member.
   */
  proof(seq: number): Promise<string | null>;
}

/** Creates the actions of a conversation. Their results go to `onMessage` and `onConversation`. */
export function createActions(
  connection: Connection,
  conversation: () => string | undefined,
  onMessage: (message: Message) => void,
  onConversation: (conversation: Conversation) => void,
): ConversationActions {
  function id(): string {
    const known = conversation();
    if (known === undefined)
      throw new KredichatError('NOT_FOUND', 'The conversation has no messages yet; the first message opens it.');
    return known;
  }

  return {
    async edit({ seq, rev }, text) {
      const input = { conversationId: id(), seq, text, expectedRev: rev };
      onMessage((await connection.run(EditMessageDocument, { input })).editMessage.message);
    },
    async redact(seq, reason) {
      const input = { conversationId: id(), seq, reason };
      onMessage((await connection.run(RedactMessageDocument, { input })).redactMessage.message);
    },
    async update(changes) {
      const input = { ...changes, conversationId: id() };
      onConversation((await connection.run(UpdateConversationDocument, { input })).updateConversation.conversation);
    },
    async view(switches) {
      const input = { ...switches, conversationId: id() };
      onConversation((await connection.run(UpdateViewDocument, { input })).updateView.conversation);
    },
    async revisions(message) {
      const { node } = await connection.run(RevisionsDocument, { id: message.id });
      return node && 'revisions' in node ? (node.revisions as readonly Revision[]) : [];
    },
    async proof(seq) {
      const { conversation: found } = await connection.run(ProofDocument, { id: id(), seq });
      const [message] = found?.messages.nodes ?? [];
      // Of a position beyond the log, the server gives the nearest message.
      if (message?.seq !== seq)
        throw new KredichatError('NOT_FOUND', 'There is no such message, or you are not a member of its conversation.');
      return message.proof;
    },
  };
}
