import { type KeyboardEvent, useEffect, useRef, useState } from 'react';
import { SendIcon } from './icons.tsx';

interface ComposerProps {
  /** Names what was written and not sent, so that a reload keeps it. */
  readonly draftKey: string;
  readonly autoFocus: boolean;
  onSend(text: string): void;
}

/** The longest text the server takes, in code points. */
const LONGEST = 10_000;

/** Where one writes. Enter sends, Shift+Enter begins a line. */
export function Composer({ draftKey, autoFocus, onSend }: ComposerProps) {
  const [text, setText] = useState(() => sessionStorage.getItem(draftKey) ?? '');
  const field = useRef<HTMLTextAreaElement>(null);
  const left = LONGEST - [...text].length;
  const sendable = text.trim() !== '' && left >= 0;

  useEffect(() => {
    if (text) sessionStorage.setItem(draftKey, text);
    else sessionStorage.removeItem(draftKey);
    // As high as the text, up to what the style allows.
    if (!field.current) return;
    field.current.style.height = 'auto';
    field.current.style.height = `${field.current.scrollHeight + 2}px`;
  }, [draftKey, text]);

  useEffect(() => {
    if (autoFocus) field.current?.focus();
  }, [autoFocus]);

  function send() {
    if (!sendable) return;
    onSend(text);
    setText('');
    field.current?.focus();
  }

  function onKeyDown(event: KeyboardEvent) {
    // While an input method is composing, Enter takes its suggestion.
    if (event.key !== 'Enter' || event.shiftKey || event.nativeEvent.isComposing) return;
    event.preventDefault();
    send();
  }

  return (
    <form
      className="composer"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      <textarea
        ref={field}
        rows={1}
        dir="auto"
        aria-label="Message"
        placeholder="Write a message"
        value={text}
        onChange={(event) => setText(event.target.value)}
        onKeyDown={onKeyDown}
      />
      {left < 500 && (
        <span className={left < 0 ? 'left over' : 'left'} role="status">
          {left}
        </span>
      )}
      <button type="submit" className="icon-button send" aria-label="Send" disabled={!sendable}>
        <SendIcon />
      </button>
    </form>
  );
}
