import type { Connection } from '../connection/connection.ts';
import { KredichatError } from '../errors.ts';
import {
  type ConversationFieldsFragment as Conversation,
  EditMessageDocument,
  type MessageFieldsFragment as Message,
  RedactMessageDocument,
  RevisionsDocument,
  UpdateConversationDocument,
  type UpdateConversationInput,
  UpdateViewDocument,
  type UpdateViewInput,
} from '../generated/operations.ts';

/** A text a message had before an edit. */
export interface Revision {
  readonly text: string;
  readonly editor: string;
  readonly at: string;
}

/**
 * What can be done to a conversation and its messages. Each is sent once and rejects with a `KredichatError`; what came of it
 * after `DISCONNECTED` is shown by the view, and all of them may be repeated.
 */
export interface ConversationActions {
  /**
   * Gives the viewer's own message another text. `message` is what the viewer saw: if it has changed since, that is `CONFLICT`
   * and nothing is overwritten.
   */
  edit(message: Pick<Message, 'seq' | 'rev'>, text: string): Promise<void>;
  /** Takes a message's texts away, for good and for everybody. */
  redact(seq: number, reason: string): Promise<void>;
  /** Changes status, assignee, labels or members, for everybody. */
  update(changes: Omit<UpdateConversationInput, 'conversationId'>): Promise<void>;
  /** Mutes, pins or archives it, for the viewer alone. */
  view(switches: Omit<UpdateViewInput, 'conversationId'>): Promise<void>;
  /** The texts a message had before it was edited, oldest first; empty once redacted. */
  revisions(message: Pick<Message, 'id'>): Promise<readonly Revision[]>;
}

/** What comes of deeds goes to `onMessage` and `onConversation`. */
export function createActions(
  connection: Connection,
  conversation: () => string | undefined,
  onMessage: (message: Message) => void,
  onConversation: (conversation: Conversation) => void,
): ConversationActions {
  function id(): string {
    const known = conversation();
    if (known === undefined) throw new KredichatError('NOT_FOUND', 'Nothing has been said in this conversation yet.');
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
  };
}
