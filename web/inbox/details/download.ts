/** Time (ms) after which the browser has begun to save a file, so that its address can be given up. */
const KEPT_MS = 60_000;

/** Saves contents made in the page as a file of the viewer's machine. */
export function download(name: string, contents: Blob): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(contents);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), KEPT_MS);
}
