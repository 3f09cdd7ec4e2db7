import { type ClipboardEvent, type KeyboardEvent, type ReactNode, useEffect, useRef, useState } from 'react';
import { tabStorage } from '../session.ts';
import { CheckIcon, CloseIcon, SendIcon } from '../shared/icons.tsx';

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
const MAX_LENGTH = 10_000;

/** Whether Enter comes from a touch keyboard, which has no Shift+Enter. */
const onTouchKeyboard = () => matchMedia('(pointer: coarse)').matches;

/** The message field. With a keyboard, Enter sends and Shift+Enter begins a line; on touch, Enter begins a line. */
export function Composer(props: ComposerProps) {
  const { draftKey, autoFocus, initial = '', note, onSend, onCancel, onType, onUp } = props;
  const [text, setText] = useState(() => (draftKey && tabStorage.get(draftKey)) ?? initial);
  const field = useRef<HTMLTextAreaElement>(null);
  const [filesRefused, setFilesRefused] = useState(false);
  const left = MAX_LENGTH - [...text].length;
  const sendable = text.trim() !== '' && left >= 0;

  useEffect(() => {
    if (draftKey !== null) {
      if (text) tabStorage.set(draftKey, text);
      else tabStorage.remove(draftKey);
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
    if (event.key !== 'Enter' || event.shiftKey) return;
    // Ctrl or Cmd is pressed on a real keyboard only, such as one that belongs to a tablet.
    if (onTouchKeyboard() && !event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    send();
  }

  function onPaste(event: ClipboardEvent) {
    const { files, types } = event.clipboardData;
    // Spreadsheets and word processors copy text together with a picture of it: then the text is wanted.
    setFilesRefused(files.length > 0 && !types.includes('text/plain'));
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
      {filesRefused && (
        <p className="composer-note" role="alert">
          Pictures and files cannot be sent yet.
        </p>
      )}
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
        enterKeyHint="enter"
        value={text}
        onChange={({ target }) => {
          setText(target.value);
          setFilesRefused(false);
          onType?.(target.value.trim() !== '');
        }}
        onKeyDown={onKeyDown}
        onPaste={onPaste}
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
