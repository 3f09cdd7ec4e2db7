import { type KeyboardEvent, type ReactNode, useEffect, useRef, useState } from 'react';
import { CheckIcon, CloseIcon, SendIcon } from './icons.tsx';

interface ComposerProps {
  /** Names what was written and not sent, so that a reload keeps it; null to keep nothing. */
  readonly draftKey: string | null;
  readonly autoFocus: boolean;
  /** What it begins with. */
  readonly initial?: string;
  /** What stands above it. */
  readonly note?: ReactNode;
  onSend(text: string): void;
  /** Where it changes what is there: leaves that as it is. */
  onCancel?(): void;
  /** The viewer types, or there is nothing any more. */
  onType?(typing: boolean): void;
  /** The arrow was pressed that leads to what was said before. */
  onUp?(): void;
}

/** The longest text the server takes, in code points. */
const LONGEST = 10_000;

/** Where one writes. Enter sends, Shift+Enter begins a line. */
export function Composer(props: ComposerProps) {
  const { draftKey, autoFocus, initial = '', note, onSend, onCancel, onType, onUp } = props;
  const [text, setText] = useState(() => (draftKey && sessionStorage.getItem(draftKey)) ?? initial);
  const field = useRef<HTMLTextAreaElement>(null);
  const left = LONGEST - [...text].length;
  const sendable = text.trim() !== '' && left >= 0;

  useEffect(() => {
    if (draftKey !== null) {
      if (text) sessionStorage.setItem(draftKey, text);
      else sessionStorage.removeItem(draftKey);
    }
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
    onType?.(false);
    onSend(text);
    // What is changed stays until that was taken.
    if (!onCancel) setText('');
    field.current?.focus();
  }

  function onKeyDown(event: KeyboardEvent) {
    if (event.key === 'Escape') onCancel?.();
    if (event.key === 'ArrowUp' && text === '') onUp?.();
    // While an input method is composing, Enter takes its suggestion.
    if (event.key !== 'Enter' || event.shiftKey || event.nativeEvent.isComposing) return;
    event.preventDefault();
    send();
  }

  return (
    <form
      className={onCancel ? 'composer editing' : 'composer'}
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      {note && <p className="composer-note">{note}</p>}
      {onCancel && (
        <button type="button" className="icon-button" aria-label="Cancel" onClick={onCancel}>
          <CloseIcon />
        </button>
      )}
      <textarea
        ref={field}
        rows={1}
        dir="auto"
        aria-label={onCancel ? 'Edited message' : 'Message'}
        placeholder="Write a message"
        value={text}
        onChange={({ target }) => {
          setText(target.value);
          onType?.(target.value.trim() !== '');
        }}
        onKeyDown={onKeyDown}
      />
      {left < 500 && (
        <span className={left < 0 ? 'left over' : 'left'} role="status">
          {left}
        </span>
      )}
      <button type="submit" className="icon-button send" aria-label={onCancel ? 'Save' : 'Send'} disabled={!sendable}>
        {onCancel ? <CheckIcon /> : <SendIcon />}
      </button>
    </form>
  );
}
