/** An icon in the colour of the surrounding text, hidden from screen readers. */
function icon(path: string) {
  return function Icon() {
    return (
      <svg className="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
        <path d={path} />
      </svg>
    );
  };
}

export const PlusIcon = icon('M12 5v14M5 12h14');
export const BackIcon = icon('M15 5l-7 7 7 7');
export const SendIcon = icon('M4 12l16-8-5 16-3.500-6.500L4 12zM11.500 13.500L20 4');
export const DownIcon = icon('M12 5v14M6 13l6 6 6-6');
export const ClockIcon = icon('M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16zM12 8v4l3 2');
export const CheckIcon = icon('M5 12.500l4.500 4.500L19 7');
export const AlertIcon = icon('M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16zM12 8v5M12 15.500v.5');
export const PeopleIcon = icon(
  'M9 11a3.500 3.500 0 1 0 0-7 3.500 3.500 0 0 0 0 7z' +
    'M2.500 20a6.500 6.500 0 0 1 13 0M16 4.500a3.500 3.500 0 0 1 0 6.500M18 14.500a6.500 6.500 0 0 1 3.500 5.500',
);
export const DotsIcon = icon(
  'M4 12a1 1 0 1 0 2 0 1 1 0 1 0-2 0M11 12a1 1 0 1 0 2 0 1 1 0 1 0-2 0M18 12a1 1 0 1 0 2 0 1 1 0 1 0-2 0',
);
export const PinIcon = icon('M9 4h6l-1 6 3 3H7l3-3-1-6zM12 13v7');
export const MutedIcon = icon('M5 9.500v5h3l5 4v-13l-5 4H5zM17 9.500l4 5M21 9.500l-4 5');
export const ArchiveIcon = icon('M4 5h16v4H4V5zM5.500 9v10h13V9M10 13h4');
export const CloseIcon = icon('M6 6l12 12M18 6L6 18');
export const LeaveIcon = icon('M10 4H5v16h5M14 8l4 4-4 4M18 12H9');
