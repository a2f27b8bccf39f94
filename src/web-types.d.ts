// The one type of the web that typed-array-utils names: its types are its sources, and lib.dom is not for this project.
type BufferSource = ArrayBuffer | ArrayBufferView;
