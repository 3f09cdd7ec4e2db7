import type { Conversation, Message } from '../../model.ts';
import { entriesOf, entryText } from '../../record/entry.ts';
import { leafHash } from '../../record/merkle.ts';

/** Letters of a hash that a transcript shows. */
const SHORT = 12;

const HEAD = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Transcript</title>
<style>
body { font: 14px/1.4 system-ui, sans-serif; margin: 2em; color: #000; background: #fff }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: 4px 8px; border-bottom: 1px solid #999 }
td:nth-child(4) { white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: plaintext }
td:nth-child(5) { font-family: monospace }
tr { break-inside: avoid }
.note { color: #444 }
</style>
</head>
<body>
`;

const ESCAPES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };
const escaped = (text: string) => text.replace(/[&<>"]/g, (letter) => ESCAPES[letter] ?? letter);
const timeOf = (at: number) => new Date(at).toISOString();

/** The beginning of a transcript: a page of HTML that needs no other file. */
export function transcriptHead(program: string, checkpoint: string | null): string {
  const signed = checkpoint === null ? 'Not signed.' : `Checkpoint:\n${checkpoint}`;
  return `${HEAD}<h1>Transcript</h1>
<p>Times are in UTC. The hash is the beginning of the leaf hash of the newest entry of the message: see FORMAT.md.
Written by Kredichat ${escaped(program)}.</p>
<pre>${escaped(signed)}</pre>
`;
}

/** The beginning of a conversation in a transcript. */
export function conversationHead({ id, configId, subject, members }: Conversation): string {
  const emails = [...members.values()].map(({ email, leftAt }) => escaped(email) + (leftAt === null ? '' : ' (left)'));
  return `<h2>${escaped(configId)}${subject === null ? '' : `: ${escaped(subject)}`}</h2>
<p>${id}<br>Members: ${emails.join(', ')}</p>
<table>
<thead><tr><th>No.</th><th>Time</th><th>Author</th><th>Text</th><th>Hash</th></tr></thead>
<tbody>
`;
}

/** The row of a message, with its earlier texts. */
export function messageRow(message: Message, conversation: Conversation): string {
  const { seq, sentAt, sender, text, revisions, editedAt, redactedAt, redactionReason, record } = message;
  const newest = entriesOf(message, conversation).at(-1);
  const hash = newest ? leafHash(entryText(conversation, newest)).toString('hex').slice(0, SHORT) : '';
  const notes = [
    ...revisions.map(({ text, at }) => `until ${timeOf(at)}: ${text}`),
    ...(editedAt !== null && redactedAt === null ? [`edited ${timeOf(editedAt)}`] : []),
    ...(redactedAt === null
      ? []
      : [`redacted ${timeOf(redactedAt)} by ${record?.redactedBy ?? 'unknown'}: ${redactionReason ?? ''}`]),
  ];
  const said = [escaped(text), ...notes.map((note) => `<span class="note">[${escaped(note)}]</span>`)];
  const cells = [seq, timeOf(sentAt), escaped(sender), said.filter(Boolean).join('\n'), hash];
  return `<tr>${cells.map((cell) => `<td>${cell}</td>`).join('')}</tr>\n`;
}

export const CONVERSATION_END = '</tbody>\n</table>\n';
export const TRANSCRIPT_END = '</body>\n</html>\n';
