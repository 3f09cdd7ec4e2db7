/**
 * Keeps the keys that an input method takes (to choose a suggestion, or to drop it) from every handler of the page.
 * Chrome and Firefox mark such a keydown by `isComposing`; WebKit ends the composition first and leaves only code 229.
 */
export function ignoreInputMethodKeys(): void {
  const ignore = (event: KeyboardEvent) => {
    if (!event.isComposing && event.keyCode !== 229) return;
    event.stopImmediatePropagation();
    // In a field of one line, Enter would submit the form as well.
    if (event.key === 'Enter' && event.target instanceof HTMLInputElement) event.preventDefault();
  };
  addEventListener('keydown', ignore, true);
}
