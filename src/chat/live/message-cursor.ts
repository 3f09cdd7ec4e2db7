import type { Conversation, Viewer } from '../../model.ts';
import type { MessageView } from '../message-view.ts';
import { Cursor } from './cursor.ts';
import type { Feed, Feeds, Room } from './feed.ts';

/** Somebody's place among the messages of a conversation. */
export class MessageCursor extends Cursor<MessageView> {
  /** The newest message the subscriber has. */
  seq = 0;

  constructor(feeds: Feeds, feed: Feed, viewer: Viewer, room: Room) {
    super('messageAdded', feeds, feed, viewer, room);
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

  protected fromPage(): MessageView | undefined {
    return this.#advance(this.page.shift());
  }

  protected dropStale(): void {
    if (this.stale) this.page = [];
  }

  /** What the tail no longer holds. */
  protected async readOn(head: Conversation): Promise<boolean> {
    if (head.lastSeq <= this.seq) return false;
    const read = await this.read(head, (size) =>
      this.store.messages(head.id, this.seq + 1, Math.min(this.seq + size, head.lastSeq)),
    );
    this.page = [...(read?.messages ?? [])];
    return this.page.length > 0;
  }

  #advance(message: MessageView | undefined): MessageView | undefined {
    if (message) this.seq = message.seq;
    return message;
  }
}
