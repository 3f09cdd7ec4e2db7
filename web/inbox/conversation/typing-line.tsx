import type { Readable } from '../../client/index.ts';
import { Person } from '../shared/names.tsx';
import { useReadable } from '../shared/use-readable.ts';

/** Shows the typing members. It keeps its height when empty, so that the layout does not move. */
export function TypingLine({ typists }: { readonly typists: Readable<readonly string[]> }) {
  const emails = useReadable(typists);
  const [first, second] = emails.map((email) => <Person key={email} email={email} />);
  return (
    <p className="typing truncate" aria-live="polite">
      {emails.length === 1 && <>{first} is typing…</>}
      {emails.length === 2 && (
        <>
          {first} and {second} are typing…
        </>
      )}
      {emails.length > 2 && (
        <>
          {first} and {emails.length - 1} others are typing…
        </>
      )}
    </p>
  );
}
