import type { Readable } from '../../client/index.ts';
import { Person } from '../shared/names.tsx';
import { useReadable } from '../shared/use-readable.ts';

/** Who is typing. It has its place all the time, so that nothing moves. */
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
