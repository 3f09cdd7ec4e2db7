import type { Conversation, Seq, Viewer } from '../../model.ts';
import type { MessageView } from '../message-view.ts';
import { Cursor } from './cursor.ts';
import type { Backpressure } from './event-stream.ts';
import type { Feed } from './feed.ts';

/** A subscriber's position among the messages of a conversation. */
export class MessageCursor extends Cursor<MessageView> {
  /** The newest message the subscriber has. */
  seq: Seq = 0;

  constructor(feed: Feed, viewer: Viewer, backpressure: Backpressure) {
    super('messageAdded', feed, viewer, backpressure);
  }

  poll(): MessageView | undefined {
    const { head, tail } = this.feed;
    if (this.notifier.closed || this.page.length > 0 || !head || !this.mayRead(head)) return undefined;
    const message = tail.at(this.seq + 1 - (tail.at(0)?.seq ?? Number.POSITIVE_INFINITY));
    return message?.seq === this.seq + 1 ? this.#advance(message) : undefined;
  }

  onReadable(listener: () => void): boolean {
    const { head } = this.feed;
    if (this.notifier.closed || this.page.length > 0 || !head || !this.mayRead(head) || !this.current) return false;
    this.notifier.once(listener);
    return true;
  }

  get current(): boolean {
    return this.seq >= (this.feed.head?.lastSeq ?? 0);
  }

  protected shiftPage(): MessageView | undefined {
    return this.#advance(this.page.shift());
  }

  protected dropStale(): void {
    if (this.stale) this.page = [];
  }

  protected async readPage(head: Conversation): Promise<boolean> {
    if (head.lastSeq <= this.seq) return false;
    const page = await this.load(head, (size) =>
      this.feed.store.messages(head.id, this.seq + 1, Math.min(this.seq + size, head.lastSeq)),
    );
    this.page = [...(page?.messages ?? [])];
    return this.page.length > 0;
  }

  #advance(message: MessageView | undefined): MessageView | undefined {
    if (message) this.seq = message.seq;
    return message;
  }
}
