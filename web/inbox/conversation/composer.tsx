import { type ClipboardEvent, type KeyboardEvent, type ReactNode, useEffect, useRef, useState } from 'react';
import { codePoints, MAX_TEXT_LENGTH } from '../../../src/chat/rules/text-length.ts';
import { tabStorage } from '../session.ts';
import { CheckIcon, CloseIcon, SendIcon } from '../shared/icons.tsx';

interface ComposerProps {
  /** Storage key of the draft, which survives a reload; null for no draft. */
  readonly draftKey: string | null;
  readonly autoFocus: boolean;
  /** The initial text. */
  readonly initial?: string;
  /** Content above the field. */
  readonly note?: ReactNode;
  onSend(text: string): void;
  /** Cancels an edit. Set only where the composer edits an existing message. */
  onCancel?(): void;
  /** The viewer typed, or emptied the field. */
  onType?(typing: boolean): void;
  /** Arrow up was pressed in the empty field. */
  onUp?(): void;
}

/** Whether Enter comes from a touch keyboard, which has no Shift+Enter. */
const onTouchKeyboard = () => matchMedia('(pointer: coarse)').matches;

/** The message field. With a keyboard, Enter sends and Shift+Enter starts a line; on touch, Enter starts a line. */
export function Composer(props: ComposerProps) {
  const { draftKey, autoFocus, initial = '', note, onSend, onCancel, onType, onUp } = props;
  const [text, setText] = useState(() => (draftKey && tabStorage.get(draftKey)) ?? initial);
  const field = useRef<HTMLTextAreaElement>(null);
  const [filesRefused, setFilesRefused] = useState(false);
  const left = MAX_TEXT_LENGTH - codePoints(text);
  const sendable = text.trim() !== '' && left >= 0;

  useEffect(() => {
    if (draftKey !== null) {
      if (text) tabStorage.set(draftKey, text);
      else tabStorage.remove(draftKey);
    }
    // Grows with the text, up to the maximum height of the style.
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
    // An edited text stays until the server accepts it.
    if (!onCancel) setText('');
    field.current?.focus();
  }

  function onKeyDown(event: KeyboardEvent) {
    if (event.key === 'Escape') onCancel?.();
    if (event.key === 'ArrowUp' && text === '') onUp?.();
    if (event.key !== 'Enter' || event.shiftKey) return;
    // Ctrl or Cmd implies a hardware keyboard, such as one attached to a tablet.
    if (onTouchKeyboard() && !event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    send();
  }

  function onPaste(event: ClipboardEvent) {
    const { files, types } = event.clipboardData;
    // Spreadsheets and word processors copy text together with a picture of it; the text is pasted then.
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
