import type { Readable } from '../client/index.ts';
import { shortName } from './format.ts';
import { useReadable } from './use-readable.ts';

/** Who is typing. It has its place all the time, so that nothing moves. */
export function TypingLine({ typists }: { readonly typists: Readable<readonly string[]> }) {
  const names = useReadable(typists).map(shortName);
  const [first, second] = names;
  return (
    <p className="typing truncate" aria-live="polite">
      {names.length === 1 && `${first} is typing…`}
      {names.length === 2 && `${first} and ${second} are typing…`}
      {names.length > 2 && `${first} and ${names.length - 1} others are typing…`}
    </p>
  );
}
