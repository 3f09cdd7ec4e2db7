import type { ClipboardEvent, InputHTMLAttributes } from 'react';
import { parseAddresses } from './addresses.ts';

type AddressFieldProps = Pick<InputHTMLAttributes<HTMLInputElement>, 'id' | 'aria-label' | 'placeholder'>;

/** A field for one address or several, which may be pasted as other programs copy them. */
export function AddressField(props: AddressFieldProps) {
  return (
    <input
      {...props}
      name="members"
      // Not `type=email`, which rejects display names; `inputMode` gives its keyboard.
      type="text"
      inputMode="email"
      autoCapitalize="off"
      autoCorrect="off"
      spellCheck={false}
      autoComplete="off"
      required
      onPaste={keepLines}
      onInput={({ currentTarget: field }) => {
        const { addresses, wrong } = parseAddresses(field.value);
        if (wrong !== null) field.setCustomValidity(`“${wrong}” is not an address, such as ann@example.com.`);
        else field.setCustomValidity(addresses.length === 0 ? 'Name an address, such as ann@example.com.' : '');
      }}
    />
  );
}

/** The addresses in the address field of a form. */
export const addressesIn = (form: HTMLFormElement): string[] =>
  parseAddresses(String(new FormData(form).get('members') ?? '')).addresses;

/** Pastes a column of addresses as a list: the single-line field would join the lines. */
function keepLines(event: ClipboardEvent<HTMLInputElement>): void {
  const field = event.currentTarget;
  const lines = event.clipboardData
    .getData('text/plain')
    .trim()
    .split(/[\r\n]+/);
  if (lines.length === 1) return;
  event.preventDefault();
  field.setRangeText(lines.join('; '), field.selectionStart ?? 0, field.selectionEnd ?? field.value.length, 'end');
  field.dispatchEvent(new InputEvent('input', { bubbles: true, inputType: 'insertFromPaste' }));
}
